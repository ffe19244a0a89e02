"""The result folder: what is written comes back, finished or not, and nothing is overwritten."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import InputError, StorageError
from bench.core.records import HealthRow, PowerRow, StepRow, TurnRow
from bench.core.spec import Case
from bench.results.batches import table_of
from bench.results.record import Record
from bench.results.result import Result, parquet_path, scan, stream_path
from bench.results.store import FLUSH_VALUES, ResultWriter
from bench.results.tables import LATER_COLUMNS, SCHEMAS, content_digest

MakeCase = Callable[..., Case]
ClosedLoop = Callable[..., list[TurnRow]]
STEP = StepRow(5, 7, 64, 3, 4, 99, 400, 8000, 4, 2, 1, 0, 5, "eager", None, 6)
POWER = PowerRow(9, "gpu", "GPU-1", None, 12.5)
HEALTH = HealthRow(9, "GPU-1", "sm_clock_mhz", 1980.0)

WRITE_A_TURN = """
import sys
from pathlib import Path
from bench.core.records import TurnRow
from bench.core.spec import Case
from bench.results.store import ResultWriter

case = Case.model_validate_json(sys.argv[2])
writer = ResultWriter(Path(sys.argv[1]), case=case, node={}, provenance={}, workload={})
writer.append_turns([TurnRow("s", 0, False, True, 1, 0, 1, 0, 0, notes="odd")])
writer.flush()
print("pandas" in sys.modules)
"""


def writer_in(folder: Path, case: Case) -> ResultWriter:
    return ResultWriter(folder, case=case, node={"cpu": "x"}, provenance={}, workload={"sessions": 1})


@pytest.mark.parametrize(
    ("name", "row"), [("turns", TurnRow), ("steps", StepRow), ("power", PowerRow), ("health", HealthRow)]
)
def test_columns_are_the_fields_of_the_row(name: str, row: type) -> None:
    assert set(SCHEMAS[name].names) == {field.name for field in dataclasses.fields(row)}


def test_rows_come_back_as_written(tmp_path: Path, make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    writer = writer_in(tmp_path, make_case())
    rows = closed_loop()
    writer.append_turns(rows[:20])
    writer.flush()
    writer.append_turns(rows[20:])
    writer.append_steps([STEP])
    writer.append_power([POWER])
    writer.append_health([HEALTH])
    before = writer.tables()
    result = writer.finish(writer.record.with_sections(run={"start_ns": 0}))
    read = Result.open(result.path)
    assert read == result
    for kept in (before, read.tables()):
        assert [TurnRow(**row) for row in kept.turns.to_pylist()] == rows
        assert [StepRow(**row) for row in kept.steps.to_pylist()] == [STEP]
        assert [PowerRow(**row) for row in kept.power.to_pylist()] == [POWER]
        assert [HealthRow(**row) for row in kept.health.to_pylist()] == [HEALTH]
    assert read.record.tables["turns"].rows == len(rows)
    assert {name: content_digest(table) for name, table in read.tables().items()} == {
        name: seal.sha256 for name, seal in read.record.tables.items()
    }


def test_every_kind_of_value_comes_back(make_turn: Callable[..., TurnRow]) -> None:
    rows = [
        make_turn(0, [5.0], error="naïve – 錯誤", correct=True, notes="no_usage", effort="high", delay_class="tool"),
        make_turn(0, [], session="", cached_tokens=None, correct=False, engine_prompt_tokens=7, delay_ns=-(2**62)),
        make_turn(2**40, [2**40 + 1.5], chunk_t_engine_ns=[1, 2], correct=None, retries=3),
    ]
    for some in ([], rows[:1], rows):
        assert [TurnRow(**row) for row in table_of("turns", some).to_pylist()] == some
    power = [PowerRow(1, "gpu", "0", None, 1.5), PowerRow(2, "gpu", "0", -0.0, None)]
    assert [PowerRow(**row) for row in table_of("power", power).to_pylist()] == power


def test_a_table_of_an_earlier_version_is_read_and_another_is_not(
    tmp_path: Path, make_case: MakeCase, closed_loop: ClosedLoop
) -> None:
    writer = writer_in(tmp_path, make_case())
    writer.append_turns(closed_loop())
    file = parquet_path(writer.finish(writer.record).path, "turns")
    whole = pq.read_table(file)
    pq.write_table(whole.drop_columns(list(LATER_COLUMNS["turns"])), file)
    earlier = Result.open(writer.path).tables().turns
    assert earlier.equals(whole.select(earlier.column_names))
    for other in (whole.drop_columns(["t_first_ns"]), whole.append_column("more", whole["session_id"])):
        pq.write_table(other, file)
        with pytest.raises(InputError, match="has other columns"):
            Result.open(writer.path).tables()


def test_a_finished_folder_holds_what_the_design_says(tmp_path: Path, make_case: MakeCase) -> None:
    writer = writer_in(tmp_path, make_case())
    writer.note("clock moved", mhz=1200)
    result = writer.finish(writer.record)
    assert sorted(file.name for file in result.path.iterdir()) == [
        "health.parquet",
        "manifest.json",
        "notes.jsonl",
        "power.parquet",
        "record.json",
        "steps.parquet",
        "turns.parquet",
    ]
    note = json.loads((result.path / "notes.jsonl").read_text())
    assert (note["message"], note["mhz"]) == ("clock moved", 1200)
    assert json.loads((result.path / "record.json").read_text())["schema"] == "neobench.record/3"
    assert result.path.name.split("-", 1)[1] == f"made-{make_case().id[:8]}"


def test_an_unfinished_result_is_readable_and_invalid(
    tmp_path: Path, make_case: MakeCase, closed_loop: ClosedLoop
) -> None:
    writer = writer_in(tmp_path, make_case())
    writer.append_turns(closed_loop())
    writer.flush()
    found = Result.open(writer.path)
    assert not found.finished
    assert found.record.verdict.status == "invalid"
    assert found.record.verdict.reasons[0]["code"] == "interrupted"
    assert len(found.tables().turns) == 64
    assert len(found.tables().steps) == 0


def test_runs_within_one_second_do_not_overwrite(tmp_path: Path, make_case: MakeCase) -> None:
    paths = {writer_in(tmp_path, make_case()).path for _ in range(5)}
    assert len(paths) == 5


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1))
def test_a_stream_cut_anywhere_gives_its_whole_batches(
    tmp_path_factory: pytest.TempPathFactory, make_case: MakeCase, share: float
) -> None:
    writer = writer_in(tmp_path_factory.mktemp("cut"), make_case())
    stream = stream_path(writer.path, "health")
    batches = [[HealthRow(10 * i + j, "d", "n", None) for j in range(i + 1)] for i in range(6)]
    sizes = []
    for batch in batches:
        writer.append_health(batch)
        writer.flush()
        sizes.append(stream.stat().st_size)
    cut = round(share * sizes[-1])
    with stream.open("r+b") as file:
        file.truncate(cut)
    expected = [row for batch, size in zip(batches, sizes, strict=True) if size <= cut for row in batch]
    assert [HealthRow(**row) for row in Result.open(writer.path).tables().health.to_pylist()] == expected


def test_the_digest_is_of_content_and_not_of_chunking(closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    whole = table_of("turns", rows)
    parts = pa.concat_tables([table_of("turns", rows[:7]), table_of("turns", rows[7:])])
    assert content_digest(whole) == content_digest(parts)
    for name, value in (("error", ""), ("cached_tokens", None), ("chunk_t_ns", [1]), ("warmup", True)):
        changed = [dataclasses.replace(row) for row in rows]
        setattr(changed[5], name, value)
        assert content_digest(table_of("turns", changed)) != content_digest(whole), name


def test_moving_a_chunk_from_one_turn_to_the_next_changes_the_digest(closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    before = content_digest(table_of("turns", rows))
    rows[1].chunk_tokens.insert(0, rows[0].chunk_tokens.pop())
    assert content_digest(table_of("turns", rows)) != before


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no record"):
        Result.open(tmp_path)
    with pytest.raises(InputError, match="holds no record"):
        scan([tmp_path])
    with pytest.raises(InputError, match="holds no record"):
        scan([tmp_path / "missing"])


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"schema": "neobench.record/9"}'])
def test_a_broken_record_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(InputError) as told:
        Result.open(tmp_path)
    assert "record.json" in str(told.value)
    assert "\n" not in str(told.value)


def test_an_unknown_key_of_a_record_is_named(tmp_path: Path, make_case: MakeCase) -> None:
    record = writer_in(tmp_path, make_case()).record
    document = json.loads(record.to_json()) | {"extra": 1}
    (tmp_path / "record.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="unknown key 'extra'"):
        Result.open(tmp_path)


def test_a_section_with_nan_is_refused(tmp_path: Path, make_case: MakeCase) -> None:
    record = writer_in(tmp_path, make_case()).record
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.with_sections(window={"ramp_s": float("nan")})
    assert Record.model_validate(json.loads(record.to_json())) == record


def test_a_finished_result_that_lost_a_table_is_refused(tmp_path: Path, make_case: MakeCase) -> None:
    writer = writer_in(tmp_path, make_case())
    result = writer.finish(writer.record)
    (result.path / "turns.parquet").unlink()
    with pytest.raises(InputError, match=r"turns\.parquet"):
        result.tables()


def test_scan_finds_every_result_once_and_sorted(tmp_path: Path, make_case: MakeCase) -> None:
    for folder in ("b", "a"):
        writer = writer_in(tmp_path / folder, make_case())
        writer.finish(writer.record)
    found = scan([tmp_path / "b", tmp_path])
    assert [result.path.parent.name for result in found] == ["a", "b"]
    assert scan([found[0].path / "record.json"]) == [found[0]]


def test_an_out_folder_that_is_a_file_is_told_in_one_line(tmp_path: Path, make_case: MakeCase) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        writer_in(tmp_path / "out", make_case())


def test_what_would_hold_a_client_up_is_not_kept_waiting(tmp_path: Path, make_case: MakeCase) -> None:
    writer = writer_in(tmp_path, make_case())
    rows = [PowerRow(i, "gpu", "0", 1.0, None) for i in range(FLUSH_VALUES)]
    for row in rows:
        writer.append_power([row])
    on_disk = len(Result.open(writer.path).tables().power)
    assert 0.7 * len(rows) < on_disk
    writer.append_turns([TurnRow("s", 0, False, True, 1, 0, 1, 0, 0, chunk_t_ns=[1] * 9000, chunk_tokens=[1] * 9000)])
    assert len(Result.open(writer.path).tables().turns) == 1


def test_writing_rows_imports_no_pandas(tmp_path: Path, make_case: MakeCase) -> None:
    command = [sys.executable, "-c", WRITE_A_TURN, str(tmp_path), make_case().model_dump_json()]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "False\n"
