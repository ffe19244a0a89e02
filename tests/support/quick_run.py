"""A result made in a second, for tests of what is done with results."""

from __future__ import annotations

from pathlib import Path

from bench.cli.main import execute

SUITE = """
base:
  model: {path: tiny}
  engine: {kind: mock, ttft_ms: 2, tpot_ms: 0.5}
  load: {kind: closed, concurrency: 4}
specs:
  - name: quick
    workload: {kind: fixed, sessions: 160, prompt_tokens: 8, output_tokens: 4}
    measure: {percentiles: [0.5], warmup_sessions: 1}
"""


def quick_run(folder: Path) -> Path:
    """The folder of the one result, in `folder`/runs."""
    suite = folder / "quick.yaml"
    suite.write_text(SUITE)
    assert execute(["run", str(suite), "--out", str(folder / "runs")]) == 0
    (record,) = (folder / "runs").rglob("record.json")
    return record.parent
