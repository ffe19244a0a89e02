"""What `make gpu` does, as far as a machine without a GPU can tell."""

from __future__ import annotations

import importlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.core.spec import ClosedLoadSpec, NativeEngineSpec
from bench.core.suite import load_suite
from bench.core.workload_spec import FixedSpec

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


@pytest.mark.slow
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


def test_the_suite_of_energy_has_the_phases_apart_and_repeats_both() -> None:
    asked = {}
    for spec in load_suite("energy").specs:
        assert isinstance(spec.workload, FixedSpec)
        assert (spec.model.weights, spec.measure.repeats) == ("random", 3)
        assert spec.power.idle_s is not None
        asked[spec.name] = spec.workload.prompt_tokens / spec.workload.output_tokens
    assert asked == {"decode": 1 / 16, "prefill": 512.0}


@pytest.mark.slow
def test_a_suite_of_energy_runs_and_is_told(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [*ON_A_CPU, "measure.max_seconds=0.5", "measure.percentiles=[]", "measure.repeats=2", "power.idle_s=0.1"]
    settings += ["load.concurrency=4", "workload.token_scale=0.25", "power.scope=node", "power.watts=100"]
    arguments = ["energy", *(part for setting in settings for part in ("--set", setting))]
    assert script.run_energy(arguments, tmp_path / "machine", 60.0) in (0, 1)  # a busy machine sends too little
    told = capsys.readouterr().out.partition("side by side\n")[2].splitlines()
    assert [line.partition(":")[0] for line in told if not line.startswith(" ")] == ["decode", "prefill"]
    assert re.search(r"^  node, assumed: [\d.]+.* J per output token", "\n".join(told), re.MULTILINE)


def test_repeats_of_a_case_are_told_side_by_side(script: Any) -> None:
    told = script.energy_lines(
        [
            measured("decode", 0.400, idle=110.0),
            measured("prefill", 40.0),
            measured("decode", 0.404, idle=112.0),
            measured("prefill", 42.0),
            measured("prefill", 90.0, status="invalid"),
        ]
    )
    assert list(told) == [
        "decode: 2 runs",
        "  gpu, idle: 110, 112 W",
        "  gpu, measured: 0.4, 0.404 J per output token; 1.0% apart, within 3%",
        "  gpu, measured: 0.2, 0.202 J per token, prompts included; 1.0% apart, within 3%",
        "  gpu, decode: 90.0, 90.0 J of the window",
        "prefill: 2 runs, 1 invalid left out",
        "  gpu, measured: 40.0, 42.0 J per output token; 4.9% apart, NOT within 3%",
        "  gpu, measured: 20.0, 21.0 J per token, prompts included; 4.9% apart, NOT within 3%",
        "  gpu, decode: 90.0, 90.0 J of the window",
    ]


def test_without_a_meter_it_is_said_why_there_are_no_joules(script: Any) -> None:
    record = measured("decode", 1.0)
    record.energy = {"rungs": {}, "missing": "no sensor was found"}
    assert list(script.energy_lines([record])) == ["decode: 1 run", "  no joules: no sensor was found"]


def measured(name: str, joules: float, idle: float | None = None, status: str = "valid") -> SimpleNamespace:
    """A record of so many joules per output token, of which there are as many as prompt tokens."""
    rung = {
        "joules_per_output_token": {"value": joules, "basis": "measured"},
        "joules_per_total_token": {"value": joules / 2, "basis": "measured"},
        "above_idle": None if idle is None else {"idle_watts": idle},
    }
    return SimpleNamespace(
        case=SimpleNamespace(id=name, spec=SimpleNamespace(name=name)),
        verdict=SimpleNamespace(status=status),
        energy={"rungs": {"gpu": rung}, "phases": {"gpu": {"joules": {"decode": {"value": 90.0}}}}, "missing": None},
    )


@pytest.mark.slow
def test_the_node_is_measured_into_the_folder_of_the_machine(script: Any, tmp_path: Path) -> None:
    assert script.run_part("node", tmp_path, 16.0) == 0
    node = json.loads((tmp_path / "node.json").read_text())
    assert node["hardware"]["key"]
    assert node["measurement"]["seconds"] == 1.0
    assert node["measured"]["gpu0_copy_bytes_per_s"]["reason"]


@pytest.mark.slow
def test_a_short_soak_runs(script: Any, tmp_path: Path) -> None:
    settings = [*ON_A_CPU, "load.concurrency=4", "workload.token_scale=0.1", "measure.max_seconds=1"]
    arguments = [*script._SOAK, *(part for one in settings for part in ("--set", one))]
    assert script.run_soak(arguments, tmp_path, 20.0) == 0
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "soak.json").read_text())["case"]


def test_a_soak_that_loses_its_engine_is_a_failure_and_one_too_short_is_none(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    codes = iter((0, 1, 3, 130))

    def bench(arguments: list[str], seconds: float) -> int:
        asked.extend(arguments)
        return next(codes)

    monkeypatch.setattr(script, "bench", bench)
    assert [script.run_part("soak", tmp_path, 75.0) for _ in range(4)] == [0, 0, 3, 130]
    assert asked[:6] == ["node", "soak", "--minutes", "1.000", "--load", "energy"]


def test_a_recording_that_fails_leaves_the_one_before(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "nvml.jsonl"

    def bench(arguments: list[str], seconds: float) -> int:
        Path(arguments[2]).write_text("new")
        return code

    monkeypatch.setattr(script, "bench", bench)
    for code, text in ((0, "new"), (3, "old")):
        kept.write_text("old")
        assert script.run_part("record", tmp_path, 5.0) == code
        assert kept.read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["nvml.jsonl"]


def test_every_part_gets_its_share_and_what_others_left(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "SHARES", {"test-engine": 3.0, "energy": 5.0, "suite": 6.0})
    assert [part for part, _ in script.dealt(["suite", "test-engine"], 90.0)] == ["test-engine", "suite"]
    (first, seconds), (last, rest) = script.dealt(["suite", "test-engine"], 90.0)
    assert (first, last) == ("test-engine", "suite")
    assert seconds == pytest.approx(30.0, rel=0.01)
    assert rest == pytest.approx(90.0, rel=0.01)  # nothing was spent


def test_what_does_not_end_when_interrupted_is_killed(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "_ENDING_SECONDS", 0.1)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which what is started inherits
    try:
        assert script.run(["-c", "import time; time.sleep(60)"], 0.1) == -signal.SIGKILL
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_without_a_gpu_it_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    ran = subprocess.run([sys.executable, SCRIPTS / "run_on_gpu.py"], capture_output=True, text=True, check=False)
    assert ran.returncode == 3
    assert ran.stderr == "make gpu: torch finds no CUDA device on this machine\n"
