"""A grid from the suite to the table of what its strategies bought, and the suite of them that ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core.suite import load_suite
from bench.run import prepare

SUITE = """
specs:
  - name: thinking
    model: {path: tiny}
    engine: {kind: mock, ttft_ms: 1}
    workload: {kind: reasoning, sessions: 24, token_scale: 0.02}
    load: {kind: closed, concurrency: 4}
    measure: {percentiles: [0.5], warmup_sessions: 0, repeats: 2}
    grid: {engine.tpot_ms: [2, 0.1]}
"""


def test_a_grid_runs_in_rounds_and_becomes_a_table(bench: Callable[..., Any], tmp_path: Path) -> None:
    suite, out = tmp_path / "grid.yaml", tmp_path / "runs"
    suite.write_text(SUITE)
    ran = bench("run", suite, "--out", out, "--json")
    assert ran.code in (0, 1), ran.err
    records = ran.json["records"]
    names = [record["case"]["spec"]["name"] for record in records]
    assert names == ["thinking.tpot_ms_2", "thinking.tpot_ms_0_1"] * 2
    (table,) = ran.json["strategies"]
    assert table["axes"] == ["engine.tpot_ms"]
    assert [one["axes"] for one in table["strategies"]] == [{"engine.tpot_ms": 2}, {"engine.tpot_ms": 0.1}]
    for start, one in enumerate(table["strategies"]):
        assert one["records"]  # of repeats, those that are valid if any is
        assert set(one["records"]) <= {record["id"] for record in records[start::2]}
    priced = bench("compare", out, "--json").json
    assert {one["case"] for one in priced["strategies"][0]["strategies"]} == set(names)
    assert "x: against thinking.tpot_ms_" in bench("compare", out).out


def test_the_suite_of_strategies_asks_every_case_the_same() -> None:
    suite = load_suite("strategies")
    engines = {(spec.engine.policy, spec.engine.graph_mode, spec.engine.prefix_cache) for spec in suite.specs}
    assert len(engines) == len(suite.specs) == 16
    first = suite.specs[0].engine
    assert (first.policy, first.graph_mode, first.prefix_cache) == ("static", "none", False)
    prepared = [prepare(spec) for spec in suite.specs]
    assert len({one.case.workload_digest for one in prepared}) == 1
    assert len({one.case.id for one in prepared}) == 16
    assert prepared[0].workload.source.turns_used >= 4 * 29  # p90 takes 29 requests, and the ramp and the drain theirs
