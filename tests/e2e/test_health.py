"""The machine is watched while a case runs, and its record says how it fared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

MOCK = "engine={kind: mock, ttft_ms: 20, tpot_ms: 2}"


def test_a_record_tells_how_this_machine_fared(bench: Callable[..., Any], suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    ran = bench("run", suite, "--out", out, "--json")
    assert ran.code in (0, 1), ran.err
    for record in ran.json["records"]:
        health, cpu = record["health"], record["health"]["cpu"]
        assert (health["over"], health["gpus"]) == ("steady window", {})
        assert 0 < cpu["own_share"] <= 1
        assert cpu["cpus"] == record["node"]["cpu"]["affinity_threads"]
        assert cpu["counts"]["own_minor_faults"] >= 0
        assert record["run"]["health"] == {"gpus_used": [], "computes_on_cpu": True, "hangs": None}
        assert record["node"]["health"]["missing"]["gpu"] == "the engine uses no GPU"
        assert "too short" in health["drift"]["output_tokens_per_s"]["method"]
        null = {name for name, gauge in cpu["gauges"].items() if gauge is None}
        assert null <= set(record["node"]["health"]["missing"].get("cpu", {}))
    assert bench("verify", out, "--json").code == 0


@pytest.mark.slow
def test_looks_cover_the_run_and_an_edited_one_is_found(bench: Callable[..., Any], suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    (record, _) = bench("run", suite, "--out", out, "--json", "--set", MOCK).json["records"]
    assert record["run"]["health"]["computes_on_cpu"] is False  # nothing is computed at all
    file = out / record["id"] / "health.parquet"
    table = pq.read_table(file)
    t_ns, rows = table["t_ns"].to_pylist(), table.to_pylist()
    assert min(t_ns) <= record["run"]["start_ns"]
    assert max(t_ns) >= record["run"]["end_ns"]
    for row in rows:
        if row["name"] == "own_cpu_s":
            row["value"] *= 2
    pq.write_table(table.from_pylist(rows, table.schema), file)
    (report, _) = sorted(bench("verify", out, "--json").json, key=lambda one: not one["differences"])
    assert {"health.parquet", "health.cpu.own_share"} <= {one["what"] for one in report["differences"]}
