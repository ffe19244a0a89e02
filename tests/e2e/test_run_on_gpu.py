"""What `make gpu` does, as far as a machine without a GPU can tell."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.core.spec import ClosedLoadSpec, NativeEngineSpec
from bench.core.suite import load_suite

SCRIPTS = Path(__file__).parents[2] / "scripts"
ON_A_CPU = ("model.path=tiny", "engine.device=cpu", "engine.dtype=float32", "engine.threads=1")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("run_on_gpu")


def test_the_suite_asks_every_batch_of_every_graph_mode() -> None:
    asked = []
    for spec in load_suite("gpu").specs:
        assert isinstance(spec.engine, NativeEngineSpec)
        assert isinstance(spec.load, ClosedLoadSpec)
        assert (spec.model.weights, spec.engine.dtype, spec.workload.kind) == ("random", "bfloat16", "fixed")
        assert spec.load.concurrency <= spec.engine.max_running
        asked.append((spec.engine.graph_mode, spec.load.concurrency))
    modes = ["full_and_piecewise", "none", "decode_full", "full", "piecewise"]
    assert asked == [(mode, requests) for mode in modes for requests in (1, 8, 32, 128, 256)]


def test_what_was_measured_becomes_an_entry_of_the_log(script: Any, tmp_path: Path) -> None:
    settings = [*ON_A_CPU, "measure.max_seconds=0.5", "measure.percentiles=[]", "engine.graph_mode=none"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    code, results = script.measure(["gpu", *arguments, "--set", "load.concurrency=4"], tmp_path / "machine", 60.0)
    assert code == 0
    assert len(results) == 1
    entry = script.log_entry(results, tmp_path / "machine")
    assert ", machine, `make gpu`, " in entry
    (line,) = [line for line in entry.splitlines() if line.startswith("none: ")]
    rate, _, requests = line.removeprefix("none: ").partition(" at ")
    assert float(rate.replace(",", "")) > 0
    assert requests == "4"
    assert script.measure(["no-such-suite"], tmp_path / "machine", 60.0) == (2, [])


@pytest.mark.slow
def test_when_the_time_is_over_what_was_measured_stays(script: Any, tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a background job of a shell
    settings = [*ON_A_CPU, "measure.max_seconds=60", "load.concurrency=1", "engine.graph_mode=none"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    code, (result,) = script.measure(["gpu", *arguments], tmp_path / "machine", 12.0)
    assert code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "interrupted" in {reason["code"] for reason in result.record.verdict.reasons}
    assert "(invalid) at 1" in script.log_entry([result], tmp_path / "machine")


def test_every_part_gets_its_share_and_what_others_left(script: Any) -> None:
    assert [part for part, _ in script.dealt(["suite", "test-engine"], 90.0)] == ["test-engine", "suite"]
    (first, seconds), (last, rest) = script.dealt(["suite", "test-engine"], 90.0)
    assert (first, last) == ("test-engine", "suite")
    assert seconds == pytest.approx(30.0, rel=0.01)
    assert rest == pytest.approx(90.0, rel=0.01)  # nothing was spent


def test_without_a_gpu_it_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    ran = subprocess.run([sys.executable, SCRIPTS / "run_on_gpu.py"], capture_output=True, text=True, check=False)
    assert ran.returncode == 3
    assert ran.stderr == "make gpu: torch finds no CUDA device on this machine\n"
