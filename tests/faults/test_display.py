"""A display that breaks while a case is measured is told, and the result is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.core.protocols import Watch
from bench.core.records import Counters, Progress
from bench.core.suite import load_suite
from bench.run import run_suite


class Breaking(Watch):
    def case(self, name: str, index: int, total: int) -> None:
        pass

    def phase(self, text: str) -> None:
        pass

    def tick(self, progress: Progress, counters: Counters) -> None:
        raise OSError("the terminal is gone")


def test_what_broke_the_display_is_raised_when_the_case_ends(tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "{suite: s, specs: [{name: s, model: {path: tiny}, engine: {kind: mock, ttft_ms: 400},"
        " workload: {kind: fixed, sessions: 4, prompt_tokens: 8, output_tokens: 2},"
        " load: {kind: closed, concurrency: 4}, measure: {warmup_sessions: 0}}]}"
    )
    with pytest.raises(OSError, match="the terminal is gone"):
        run_suite(load_suite(suite), tmp_path / "runs", watch=Breaking(), command=["bench"])
    (folder,) = (tmp_path / "runs").iterdir()
    record = json.loads((folder / "record.json").read_text())
    assert record["requests"]["completed"] == 4
    assert record["run"]["stopped_because"] == "the terminal is gone"
