"""A command line run in this process, and a small suite to run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import execute

SUITE = """
suite: small
base:
  model: {path: tiny}
  engine: {max_running: 4, kv_cache_tokens: 16384, threads: 1}
  load: {kind: closed, concurrency: 4, time_scale: 0}
  measure: {percentiles: [0.5], warmup_sessions: 1}
  slo: {ttft_ms: 60000}
specs:
  - name: thinking
    workload: {kind: reasoning, sessions: 24, length_mode: free, token_scale: 0.1, temperature: 0.8}
  - name: acting
    workload: {kind: agentic, sessions: 8, token_scale: 0.01, max_turns_per_session: 3}
trace:
  name: replayed
  workload: {token_scale: 0.1, max_turns: 40}
"""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs `bench …` and returns its exit code and what it printed."""

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        code = execute([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SUITE)
    return path
