"""`verify` finds whatever was changed after the run, and nothing where nothing was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.core.digest import file_digest
from bench.core.errors import InputError
from bench.core.records import PowerRow, TurnRow
from bench.core.spec import Case
from bench.metrics.context import RunContext
from bench.metrics.summary import summarise
from bench.results.record import SCHEMA, Record
from bench.results.result import Result
from bench.results.store import ResultWriter
from bench.results.tables import Tables, content_digest
from bench.results.verify import Report, verify


def recompute(record: Record, tables: Tables) -> Mapping[str, Any]:
    context = RunContext(**(record.run or {}))
    return summarise(record.case, context, turns=tables.turns, power=tables.power, steps=tables.steps).sections()


@pytest.fixture
def result(tmp_path: Path, make_case: Callable[..., Case], closed_loop: Callable[..., list[TurnRow]]) -> Result:
    rows = closed_loop()
    context = RunContext(0, max(row.t_done_ns or 0 for row in rows), 1)
    writer = ResultWriter(tmp_path, case=make_case(), node={}, provenance={}, workload={})
    writer.append_turns(rows)
    readings = range(context.end_ns // 10**8 + 2)
    writer.append_power([PowerRow(t * 10**8, "gpu", "0", 100.0 + t % 2 / 10, 10.0 * t) for t in readings])
    tables = writer.tables()
    summary = summarise(writer.record.case, context, turns=tables.turns, power=tables.power, steps=tables.steps)
    return writer.finish(writer.record.with_sections(run=asdict(context), **summary.sections()))


def what(report: Report) -> set[str]:
    return {difference.what for difference in report.differences}


def refresh_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {name: file_digest(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))


def edit_table(folder: Path, name: str, column: str, row: int, change: Callable[[Any], Any]) -> None:
    """Change one cell of a table and make the manifest agree."""
    table = pq.ParquetFile(folder / f"{name}.parquet").read()
    values = table[column].to_pylist()
    values[row] = change(values[row])
    at = table.schema.get_field_index(column)
    changed = table.set_column(at, table.schema.field(column), pa.array(values, table.schema.field(column).type))
    pq.write_table(changed, folder / f"{name}.parquet")
    refresh_manifest(folder)


def edit_record(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the record and make the manifest agree."""
    document = json.loads((folder / "record.json").read_text())
    change(document)
    (folder / "record.json").write_text(json.dumps(document))
    refresh_manifest(folder)


def test_an_untouched_result_verifies(result: Result) -> None:
    report = verify(result.path, recompute)
    assert report.ok, report.differences
    assert report.compared > 200


def test_a_record_of_the_schema_before_is_held_to_the_numbers_it_has(result: Result) -> None:
    def as_before(record: dict[str, Any]) -> None:
        record["schema"] = "neobench.record/1"
        del record["sessions"], record["goodput"]["good_share"]

    edit_record(result.path, as_before)
    report = verify(result.path, recompute)
    assert report.ok, report.differences
    edit_record(result.path, lambda record: record["goodput"]["good_token_share"].update(value=0.5))
    assert what(verify(result.path, recompute)) == {"goodput.good_token_share.value"}
    edit_record(result.path, lambda record: record.update(schema=SCHEMA))
    assert {"goodput.good_share", "sessions"} <= what(verify(result.path, recompute))


def test_a_record_of_before_the_energy_ladder_is_held_to_the_numbers_it_has(result: Result) -> None:
    edit_record(result.path, lambda record: record["energy"].pop("phases"))
    assert "energy.phases" in what(verify(result.path, recompute))

    def as_before(record: dict[str, Any]) -> None:
        del record["run"]["power"], record["energy"]["absent"], record["energy"]["rungs"]["gpu"]["above_idle"]

    edit_record(result.path, as_before)
    report = verify(result.path, recompute)
    assert report.ok, report.differences
    edit_record(result.path, lambda record: record["energy"]["rungs"]["gpu"].update(joules=1.0))
    assert what(verify(result.path, recompute)) == {"energy.rungs.gpu.joules"}


def test_a_moved_copy_verifies(result: Result, tmp_path: Path) -> None:
    moved = result.path.rename(tmp_path / "elsewhere")
    assert verify(moved, recompute).ok


@pytest.mark.parametrize("name", ["turns.parquet", "power.parquet", "record.json", "notes.jsonl"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_one_byte_changed_fails(result: Result, name: str, share: float) -> None:
    content = bytearray((result.path / name).read_bytes() or b"\n")
    at = int(share * len(content))
    content[at] = ord("7") if content[at] != ord("7") else ord("8")
    (result.path / name).write_bytes(content)
    try:
        found = what(verify(result.path, recompute))
    except InputError as refused:
        found = {Path(str(refused.where)).name}
    assert name in found


def test_a_table_edited_with_its_manifest_moves_a_headline(result: Result) -> None:
    edit_table(result.path, "turns", "t_last_ns", 20, lambda t: t + 1000)
    found = what(verify(result.path, recompute))
    assert "turns.parquet" not in found
    assert {"tables.turns.sha256", "latency.tpot_ms.mean.value"} <= found


def test_a_table_edited_with_its_manifest_where_no_headline_moves(result: Result) -> None:
    edit_table(result.path, "turns", "error", 20, lambda _: "nothing to see")
    assert what(verify(result.path, recompute)) == {"tables.turns.sha256"}


def test_a_headline_edited_with_its_manifest_is_named_with_both_values(result: Result) -> None:
    def flatter(document: dict[str, Any]) -> None:
        document["throughput"]["output_tokens_per_s"]["value"] *= 1 + 1e-9

    edit_record(result.path, flatter)
    (difference,) = verify(result.path, recompute).differences
    assert difference.what == "throughput.output_tokens_per_s.value"
    assert difference.stored == pytest.approx(difference.recomputed, rel=1e-8)


def test_recomputation_tolerates_the_last_bits_only(result: Result) -> None:
    def last_bits(document: dict[str, Any]) -> None:
        document["throughput"]["output_tokens_per_s"]["value"] *= 1 + 1e-13

    edit_record(result.path, last_bits)
    assert verify(result.path, recompute).ok


def test_a_dropped_reason_or_section_is_found(result: Result) -> None:
    edit_record(result.path, lambda document: document["requests"].pop("left_out"))
    assert what(verify(result.path, recompute)) == {"requests.left_out"}
    edit_record(result.path, lambda document: document.update(goodput=None))
    assert "goodput" in what(verify(result.path, recompute))


def test_a_case_that_does_not_carry_its_id_is_found(result: Result) -> None:
    edit_record(result.path, lambda document: document["case"]["spec"]["load"].update(concurrency=5))
    assert "case.id" in what(verify(result.path, recompute))


def test_missing_and_added_files_are_found(result: Result) -> None:
    (result.path / "notes.jsonl").unlink()
    (result.path / "extra.txt").write_text("x")
    assert what(verify(result.path, recompute)) == {"notes.jsonl", "extra.txt"}


def test_rows_dropped_with_seal_and_manifest_refreshed_still_fail(result: Result) -> None:
    """Whoever also refreshes the seal meets the numbers."""
    path = result.path / "turns.parquet"
    fewer = pq.ParquetFile(path).read().slice(0, 60)
    pq.write_table(fewer, path)

    def reseal(document: dict[str, Any]) -> None:
        document["tables"]["turns"] = {"rows": 60, "sha256": content_digest(fewer)}

    edit_record(result.path, reseal)
    assert "requests.sent" in what(verify(result.path, recompute))


@pytest.mark.parametrize("manifest", [None, b"{", b"[]", b"{}", b"\xff"])
def test_without_a_manifest_it_does_not_verify(result: Result, manifest: bytes | None) -> None:
    if manifest is None:
        (result.path / "manifest.json").unlink()
    else:
        (result.path / "manifest.json").write_bytes(manifest)
    assert what(verify(result.path, recompute)) == {"manifest.json"}


def test_an_unfinished_result_is_reported_and_does_not_break(tmp_path: Path, make_case: Callable[..., Case]) -> None:
    writer = ResultWriter(tmp_path, case=make_case(), node={}, provenance={}, workload={})
    assert "manifest.json" in what(verify(writer.path, recompute))


def test_a_table_that_no_number_can_come_from_is_a_difference(result: Result) -> None:
    edit_table(result.path, "turns", "chunk_tokens", 20, lambda counts: counts[1:])
    assert "tables" in what(verify(result.path, recompute))
