"""Loads that a workload or an engine cannot keep: told in one line, before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SUITE = """
specs:
  - name: bad
    model: {{path: tiny}}
    engine: {{kind: mock}}
    workload: {workload}
    load: {load}
"""
FIXED = "{kind: fixed, sessions: 9, prompt_tokens: 8, output_tokens: 2}"


@pytest.mark.parametrize(
    ("workload", "load", "line"),
    [
        (
            FIXED,
            "{kind: trace}",
            "load.kind = trace: 9 of 9 sessions have no time of arrival "
            "(allowed: a trace that tells when each session began, or another kind)",
        ),
        (
            FIXED,
            "{kind: closed, concurrency: 2, recycle: true}",
            "bad: load.recycle = true would never end (allowed: measure.max_seconds with it)",
        ),
        (
            FIXED,
            "{kind: step, process: constant, "
            "steps: [{sessions_per_s: 4, seconds: 1}, {sessions_per_s: 0, seconds: 1}]}",
            "load.steps: the last step lets no session begin, and only 4 of 9 begin before it "
            "(allowed: a last rate above 0, or fewer sessions)",
        ),
        (
            "{kind: multimodal, sessions: 4}",
            "{kind: closed, concurrency: 2}",
            "bad: the workload has images, which this engine does not take "
            "(allowed: engine: {kind: endpoint, api: chat, ...})",
        ),
    ],
    ids=["no-arrivals", "endless", "silent-end", "images"],
)
def test_is_refused_before_anything_starts(
    bench: Callable[..., Any], tmp_path: Path, workload: str, load: str, line: str
) -> None:
    suite = tmp_path / "bad.yaml"
    suite.write_text(SUITE.format(workload=workload, load=load))
    ran = bench("run", suite, "--out", tmp_path / "runs")
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == f"bench: {line}"
    assert not (tmp_path / "runs").exists()


def test_a_thinking_budget_that_a_server_never_hears_of_is_refused(bench: Callable[..., Any], tmp_path: Path) -> None:
    suite = tmp_path / "bad.yaml"
    workload = "{kind: reasoning, sessions: 4, length_mode: free, thinking_budget: 20}"
    suite.write_text(SUITE.format(workload=workload, load="{kind: closed, concurrency: 2}"))
    endpoint = "engine={kind: endpoint, base_url: 'http://127.0.0.1:1', api: chat}"
    ran = bench("run", suite, "--out", tmp_path / "runs", "--set", endpoint)
    assert ran.code == 2
    assert "bad: workload.thinking_budget is not told to the server (allowed: engine.extra_body with" in ran.err
    told = bench(
        "run", suite, "--out", tmp_path / "runs", "--set", endpoint, "--set", "engine.extra_body.a=$thinking_budget"
    )
    assert told.code == 3  # nobody listens there
