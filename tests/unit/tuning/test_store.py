"""The file that keeps every measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from neokernels.tuning.measurement import Clocks, Measurement
from neokernels.tuning.store import MeasurementLog, StoreError, best_of, read_measurements, winners


@pytest.fixture
def rows(simulated: Any, database: Path) -> list[Measurement]:
    """Of a whole search; `database` has them too."""
    with MeasurementLog(database) as log:
        simulated.search(log).tune(simulated.TWICE, simulated.Rows(64, 4096))
        return log.rows


def test_rows_read_back_as_they_were(rows: list[Measurement], database: Path) -> None:
    clocks = Clocks(1980.0, None, 61.0, 402.5, ("throttle_sw_power_cap",))
    with MeasurementLog(database) as log:
        assert log.rows == rows
        log.append(replace(rows[0], clocks=clocks))
    assert read_measurements(database) == [*rows, replace(rows[0], clocks=clocks)]


@pytest.mark.parametrize("left", [b'{"kernel": "tw', b"\xff\xfe", b"{}"])
def test_half_a_row_is_dropped_and_the_next_begins_a_line(rows: list[Measurement], database: Path, left: bytes) -> None:
    with database.open("ab") as file:
        file.write(left)
    assert read_measurements(database) == rows
    with MeasurementLog(database) as log:
        log.append(rows[0])
    assert read_measurements(database) == [*rows, rows[0]]


@pytest.mark.parametrize("line", ["{}", "not JSON", "[1]", '{"kernel": "twice", "status": "splendid"}'])
def test_a_foreign_row_is_told_with_its_line(rows: list[Measurement], database: Path, line: str) -> None:
    text = database.read_text().splitlines()
    database.write_text("\n".join([text[0], line, *text[1:]]) + "\n")
    with pytest.raises(StoreError, match=rf"^{database}:2: no measurement: ") as error:
        read_measurements(database)
    assert "\n" not in str(error.value)
    with pytest.raises(StoreError):
        MeasurementLog(database)


def test_one_tuner_at_a_time(database: Path) -> None:
    with MeasurementLog(database), pytest.raises(StoreError, match="another process is tuning into it"):
        MeasurementLog(database)
    with MeasurementLog(database) as log:
        assert log.rows == []


def test_what_cannot_be_written_or_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        MeasurementLog(tmp_path)
    with pytest.raises(StoreError, match="cannot be read"):
        read_measurements(tmp_path / "none.jsonl")


def test_other_source_wins_nothing(rows: list[Measurement]) -> None:
    sha = rows[0].source_sha
    faster = replace(rows[-1], source_sha="0" * 16, times=replace(rows[-1].times, p50_us=1e-3))
    [winner] = winners([*rows, faster], {"twice": sha})
    assert winner.source_sha == sha
    assert winners(rows, {"twice": "1" * 16}) == []
    assert winners(rows, {}) == []


def test_the_stack_that_was_measured_last_counts(rows: list[Measurement]) -> None:
    other = replace(rows[0].stack, triton="3.9.0")
    newer = [replace(row, stack=other, config=row.config.changed(BLOCK=16)) for row in rows]
    best = best_of([*rows, *newer])
    assert best is not None
    assert best.stack.triton == "3.9.0"


def test_a_final_round_outranks_faster_times_before(rows: list[Measurement]) -> None:
    final = [row for row in rows if row.method and row.method.final]
    lucky = replace(rows[0], times=replace(rows[0].times, p50_us=1e-3))
    assert best_of([lucky, *rows]) == best_of(rows)
    assert best_of(rows) in final
    screened = [row for row in rows if row not in final]
    best = best_of(screened)
    assert best is not None
    assert best.method is not None
    assert best.method.round == max(row.method.round for row in screened if row.method)


def test_what_turned_out_wrong_does_not_win(rows: list[Measurement]) -> None:
    failed = [replace(row, status="wrong") for row in rows if row.method and row.method.final]
    assert best_of([*rows[: -len(failed)], *failed]) is None
