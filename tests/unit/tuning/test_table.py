"""Schedules that won: exported, reviewed, and found again for a problem."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config
from neokernels.tuning.table import TableError, TunedTable, Winner, load_table, merged, save_table, slug, table_file

A, B = Config(BLOCK=128, num_warps=2), Config(BLOCK=256, num_warps=8)


@pytest.fixture
def winner(simulated: Any) -> Any:
    def of(rows: int, width: int = 4096, config: Config = A, source_sha: str | None = None) -> Winner:
        return Winner(
            kernel="twice",
            source_sha=source_sha or simulated.TWICE.source_sha(),
            problem={"rows": rows, "width": width},
            config=config,
            p50_us=3.25,
            roofline_fraction=0.912,
            stack={"triton": "3.7.1", "ptxas": "12.8", "driver": "580.1"},
            date="2026-11-22",
        )

    return of


@pytest.fixture
def found(simulated: Any) -> Any:
    """What is found for so many rows of 4,096 among some winners."""

    def find(rows: int, *winners: Winner, kernel: Any = None) -> Any:
        table = TunedTable(simulated.DEVICE, winners)
        return table.find(kernel or simulated.TWICE, simulated.Rows(rows, 4096))

    return find


def test_the_problem_itself_is_tuned(found: Any, winner: Any) -> None:
    assert found(64, winner(64, config=A), winner(128, config=B)) == (A, "tuned")


def test_the_nearest_problem_is_found_by_powers_of_two(found: Any, winner: Any) -> None:
    assert found(64, winner(16, config=A), winner(128, config=B)) == (B, "nearest")
    assert found(64, winner(32, config=A), winner(256, config=B)) == (A, "nearest")


def test_nothing_is_near_beyond_a_factor_of_eight(found: Any, winner: Any) -> None:
    assert found(64, winner(512)) == (A, "nearest")
    assert found(64, winner(1024)) is None
    assert found(64) is None


def test_other_fields_must_be_the_same(found: Any, winner: Any) -> None:
    assert found(64, winner(64, width=2048)) is None
    assert found(64, replace(winner(64), problem={"rows": 64})) is None


def test_other_source_is_the_nearest_at_best(found: Any, winner: Any) -> None:
    old = winner(64, source_sha="0" * 16, config=B)
    assert found(64, old) == (B, "nearest")
    assert found(64, old, winner(64, config=A)) == (A, "tuned")


def test_a_schedule_must_be_one_of_the_kernel_and_make_sense(found: Any, winner: Any, simulated: Any) -> None:
    assert found(64, winner(64, config=Config(BLOCK=128))) is None
    table = TunedTable(simulated.DEVICE, [winner(64, width=128, config=B), winner(32, width=128, config=A)])
    assert table.find(simulated.TWICE, simulated.Rows(64, 128)) == (A, "nearest")


def test_a_file_reads_back_and_is_written_the_same(winner: Any, simulated: Any, tmp_path: Path) -> None:
    file = table_file(tmp_path / "tuned", simulated.DEVICE.name)
    assert file.name == "simulated-gpu-80gb.json"
    table = TunedTable(simulated.DEVICE, [winner(256), winner(64), winner(64, width=128)])
    save_table(file, table)
    read = load_table(file, simulated.DEVICE)
    assert sorted(read.winners, key=str) == sorted(table.winners, key=str)
    text = file.read_text()
    save_table(file, read)
    assert file.read_text() == text
    assert [line["problem"]["rows"] for line in json.loads(text)["kernels"]["twice"]] == [64, 64, 256]
    assert len(text.splitlines()) == 3 + 3 + 4


def test_a_new_winner_takes_the_place_of_its_problems_old_one(winner: Any, simulated: Any) -> None:
    old = TunedTable(simulated.DEVICE, [winner(64, config=A), winner(128, config=A)])
    table = merged(old, simulated.DEVICE, [winner(64, config=B)])
    assert {one.problem["rows"]: one.config for one in table.winners} == {64: B, 128: A}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"device": "Simulated GPU 80GB", "kernels": {"twice": [{"config": {}}]}}',
        '{"device": "Simulated GPU 80GB", "kernels": []}',
        '{"device": "Simulated GPU 80GB", "kernels": {"twice": [{"problem": {}, "config": {}, "p50_us": "a"}]}}',
        '{"device": "NVIDIA H200", "kernels": {}}',
    ],
)
def test_what_is_no_table_is_told_in_a_line(content: str, simulated: Any, tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text(content)
    with pytest.raises(TableError) as error:
        load_table(file, simulated.DEVICE)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_batch_invariant_look_ups_are_of_one_problem(winner: Any, simulated: Any) -> None:
    table = TunedTable(simulated.DEVICE, [winner(64, config=A), winner(1024, config=B)])
    schedules = Schedules(simulated.DEVICE, table, batch_invariant=True)
    assert {schedules.config(simulated.TWICE, simulated.Rows(rows, 4096)) for rows in (1, 64, 1000)} == {A}
    assert [look_up.origin for look_up in schedules.look_ups] == ["tuned"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"), ("NVIDIA GB300", "nvidia-gb300"), ("A/B (c)", "a-b-c")],
)
def test_device_names_become_names_of_files(name: str, expected: str) -> None:
    assert slug(name) == expected
