"""What a server would never hear of is refused before anything is sent, in one line that says what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SUITE = """
base:
  model: {path: tiny}
  engine: {kind: endpoint, base_url: "http://127.0.0.1:1", preset: openai}
  load: {kind: closed, concurrency: 1}
specs:
  - name: asked
    workload: {kind: reasoning, sessions: 2, length_mode: free, token_scale: 0.01}
"""


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        (
            "workload.length_mode=pinned",
            "workload.length_mode is pinned, and this server ends answers as it likes "
            "(allowed: length_mode: free, or engine.force_length with the server's own fields)",
        ),
        (
            "workload.top_k=9",
            "workload.top_k = 9, and this server knows no top_k "
            "(allowed: the API's own, or engine.sampling_fields with top_k)",
        ),
        (
            "engine.sampling_fields=[seed]",
            "workload.temperature = 0.0, and this server knows no temperature "
            "(allowed: the API's own, or engine.sampling_fields with temperature)",
        ),
        (
            "workload.thinking_budget=9",
            "workload.thinking_budget is not told to the server (allowed: engine.extra_body with $thinking_budget "
            "as the value of the server's own field)",
        ),
        (
            "engine.effort_body={}",
            "workload.effort is not told to the server (allowed: engine.effort_body with its own field)",
        ),
        (
            "engine.efforts=[low, medium]",
            "workload.effort has high, which this server does not know (allowed: low, medium)",
        ),
    ],
)
def test_is_refused(bench: Callable[..., Any], tmp_path: Path, setting: str, line: str) -> None:
    suite = tmp_path / "suite.yaml"
    effort = ("--set", "workload.effort.high=1") if "effort" in line else ()
    suite.write_text(SUITE)
    ran = bench("run", suite, "--out", tmp_path / "runs", *effort, "--set", setting)
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == f"bench: asked: {line}"
    assert not (tmp_path / "runs").exists()


def test_completions_tell_effort_in_their_prompts(bench: Callable[..., Any], tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(SUITE)
    sets = ("workload.effort.high=1", "engine.effort_body={}", "engine.api=completions")
    ran = bench("run", suite, "--out", tmp_path / "runs", *(part for one in sets for part in ("--set", one)))
    assert ran.code == 3  # nobody listens there
