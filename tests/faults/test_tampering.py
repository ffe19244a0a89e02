"""`bench verify` on results that were changed after the run: whatever was touched, it differs and exits with 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.core.digest import file_digest
from bench.core.records import PowerRow, StepRow
from bench.results.tables import content_digest

TABLES = ("turns", "steps", "power", "health")
SEALED = ("record.json", "notes.jsonl", *(f"{name}.parquet" for name in TABLES))


@dataclass(frozen=True)
class Found:
    code: int
    differences: dict[str, tuple[Any, Any]]
    """What was stored and what was recomputed, by place."""


@pytest.fixture
def verify(bench: Callable[..., Any], result: Path) -> Callable[[], Found]:
    """Runs `bench verify` on the result."""

    def run() -> Found:
        ran = bench("verify", result, "--json")
        (report,) = ran.json
        differences = {d["what"]: (d["stored"], d["recomputed"]) for d in report["differences"]}
        assert bench("verify", result).code == ran.code
        return Found(ran.code, differences)

    return run


def refresh_manifest(result: Path) -> None:
    manifest = result / "manifest.json"
    files = json.loads(manifest.read_text())["files"]
    assert sorted(files) == sorted(SEALED)
    manifest.write_text(json.dumps({"files": {name: file_digest(result / name) for name in files}}))


def edit_record(result: Path, place: str, change: Callable[[Any], Any]) -> None:
    path = result / "record.json"
    record = json.loads(path.read_text())
    *parents, last = place.split(".")
    owner = record
    for parent in parents:
        owner = owner[parent]
    owner[last] = change(owner[last])
    path.write_text(json.dumps(record))


def edit_table(result: Path, table: str, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Rewrite a table with its rows changed in place."""
    path = result / f"{table}.parquet"
    rows = pq.ParquetFile(path).read()
    changed = rows.to_pylist()
    change(changed)
    pq.write_table(pa.Table.from_pylist(changed, rows.schema), path)


def refresh_seal(result: Path, table: str) -> None:
    """Let the record say of a table what it now holds."""
    rows = pq.ParquetFile(result / f"{table}.parquet").read()
    edit_record(result, f"tables.{table}", lambda seal: {"rows": len(rows), "sha256": content_digest(rows)})


def test_an_untouched_result_is_the_same(verify: Callable[[], Found]) -> None:
    assert verify() == Found(0, {})


@pytest.mark.parametrize("file", [*SEALED, "manifest.json"])
def test_a_missing_file(bench: Callable[..., Any], result: Path, file: str) -> None:
    (result / file).unlink()
    ran = bench("verify", result)
    if file == "record.json":  # then there is nothing that could be verified
        assert (ran.code, ran.out) == (2, "")
    else:
        assert ran.code == 1
        assert file in ran.out


@pytest.mark.parametrize("file", SEALED[2:])
@pytest.mark.parametrize("place", [0, 0.3, 0.6, 0.9, 1])
def test_one_byte_of_a_table(verify: Callable[[], Found], result: Path, file: str, place: float) -> None:
    content = bytearray((result / file).read_bytes())
    content[round(place * (len(content) - 1))] ^= 0x01
    (result / file).write_bytes(content)
    found = verify()
    assert found.code == 1
    assert file in found.differences


def test_a_byte_more_of_the_notes(verify: Callable[[], Found], result: Path) -> None:
    with (result / "notes.jsonl").open("a") as notes:
        notes.write(" ")
    assert list(verify().differences) == ["notes.jsonl"]


def test_a_file_that_was_added(verify: Callable[[], Found], result: Path) -> None:
    (result / "remarks.txt").write_text("looks fine to me")
    assert list(verify().differences) == ["remarks.txt"]


def shifted(column: str, by: int) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row[column] += by

    return change


FORGED_TURNS = [
    (shifted("t_first_ns", -500_000), "latency.ttft_ms.p50.value"),
    (shifted("t_last_ns", -500_000), "latency.tpot_ms.p50.value"),
    (shifted("prompt_tokens", 1), "throughput.total_tokens_per_s.value"),
    (lambda rows: rows[-1].update(status="failed"), "requests.completed"),
    (lambda rows: rows.pop(), "requests.sent"),
]


@pytest.mark.parametrize(("change", "headline"), FORGED_TURNS)
@pytest.mark.parametrize("sealed_again", [False, True])
def test_turns_changed_together_with_their_digests(
    verify: Callable[[], Found],
    result: Path,
    change: Callable[[list[dict[str, Any]]], object],
    headline: str,
    sealed_again: bool,
) -> None:
    edit_table(result, "turns", change)
    if sealed_again:
        refresh_seal(result, "turns")
    refresh_manifest(result)
    found = verify()
    assert found.code == 1
    assert "turns.parquet" not in found.differences
    assert ("tables.turns.sha256" in found.differences) is not sealed_again
    assert headline in found.differences


FORGED_ROWS = {
    "turns": lambda rows: rows[0].update(session_id="another"),  # no headline depends on it
    "steps": lambda rows: rows.append(asdict(StepRow(1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, "eager", None, 1))),
    "power": lambda rows: rows.append(asdict(PowerRow(1, "gpu", "0", 1.0, None))),
    "health": lambda rows: rows[0].update(value=1.0),
}


@pytest.mark.parametrize("table", FORGED_ROWS)
def test_any_table_changed_together_with_the_manifest(verify: Callable[[], Found], result: Path, table: str) -> None:
    edit_table(result, table, FORGED_ROWS[table])
    refresh_manifest(result)
    found = verify()
    assert found.code == 1
    assert f"tables.{table}.sha256" in found.differences


def test_joules_forged_by_readings_that_never_were(verify: Callable[[], Found], result: Path) -> None:
    times = pq.ParquetFile(result / "turns.parquet").read()["t_send_ns"].to_pylist()
    readings = [asdict(PowerRow(t, "node", "meter", 1.0, None)) for t in (min(times) - 10**9, max(times) + 10**12)]
    edit_table(result, "power", lambda rows: rows.extend(readings))
    refresh_seal(result, "power")
    refresh_manifest(result)
    assert "energy.rungs.node.joules" in verify().differences


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("throughput.output_tokens_per_s.value", lambda value: value * (1 + 1e-11)),
        ("throughput.output_tokens_per_s.low", lambda value: None),
        ("latency.ttft_ms.p50.value", lambda value: value / 2),
        ("latency.ttft_ms.p50.basis", lambda value: "quoted"),
        ("goodput.goodput_tokens_per_s.value", lambda value: value + 1),
        ("energy.rungs.node.joules_per_output_token.value", lambda value: value / 10),
        ("energy.rungs.node.joules_per_output_token.basis", lambda value: "measured"),
        ("requests.sent", lambda value: value + 1),
        ("window.steady.seconds", lambda value: value * 2),
        ("case.spec.load.sessions_per_s", lambda value: value * 2),
        ("tables.health.rows", lambda value: value + 1),
    ],
)
def test_a_record_changed_together_with_the_manifest(
    verify: Callable[[], Found], result: Path, place: str, change: Callable[[Any], Any]
) -> None:
    edit_record(result, place, change)
    refresh_manifest(result)
    found = verify()
    assert found.code == 1
    assert ("case.id" if place.startswith("case.") else place) in found.differences


def test_a_verdict_changed_together_with_the_manifest(verify: Callable[[], Found], result: Path) -> None:
    edit_table(result, "turns", lambda rows: rows[-1].update(status="failed"))
    refresh_seal(result, "turns")
    edit_record(result, "verdict.status", lambda status: "valid")
    refresh_manifest(result)
    assert verify().differences["verdict.status"] == ("valid", "invalid")


@pytest.mark.parametrize("manifest", [b"", b"[]", b'{"files": {}}', b"\xff"])
def test_a_manifest_that_seals_nothing(verify: Callable[[], Found], result: Path, manifest: bytes) -> None:
    (result / "manifest.json").write_bytes(manifest)
    assert verify().code == 1
