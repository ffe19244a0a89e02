"""A result to damage, one run of the mock engine copied for each test, and a command that must refuse."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cli.main import execute

# Arrivals, because a busy machine that holds up the lanes of a closed loop in turn leaves it no long steady window.
MEASURED = {
    "suite": "measured",
    "specs": [
        {
            "name": "thinking",
            "model": {"path": "tiny"},
            "engine": {"kind": "mock", "ttft_ms": 1.0, "tpot_ms": 0.1},
            "workload": {"kind": "reasoning", "sessions": 24, "token_scale": 0.02},
            "load": {"kind": "constant", "sessions_per_s": 100.0},
            "measure": {"percentiles": [0.5], "warmup_sessions": 1},
            "power": {"scope": "node", "watts": 50.0},
        }
    ],
}


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    suite = folder / "measured.yaml"
    suite.write_text(yaml.safe_dump(MEASURED))
    assert execute(["run", str(suite), "--out", str(folder / "runs")]) in (0, 1)
    (result,) = (folder / "runs").iterdir()
    return result


@pytest.fixture
def result(measured: Path, tmp_path: Path) -> Path:
    """A result folder of the test's own, all that lies in `tmp_path / "results"`."""
    return shutil.copytree(measured, tmp_path / "results" / measured.name)


@pytest.fixture
def no_result_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, in which no result may lie after the test."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.glob("runs/*"))


@pytest.fixture
def refusal(bench: Callable[..., Any]) -> Callable[..., str]:
    """Runs `bench …`, which must refuse, and returns its line; progress may only precede what an engine alone finds."""

    def refused(*arguments: object, found_by_engine: bool = False) -> str:
        ran = bench(*arguments)
        assert (ran.code, ran.out) == (2, "")
        *progress, line = ran.err.splitlines()
        assert progress == (["thinking: starting the engine"] if found_by_engine else [])
        assert line.startswith("bench: ")
        return str(line)

    return refused
