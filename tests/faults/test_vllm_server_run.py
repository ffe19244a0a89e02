"""A run on a vLLM server of its own: what its record tells, also where the server does not last."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_vllm_server import installed
from waiting import soon

SESSIONS = 24


@pytest.fixture
def suite_for(tmp_path: Path) -> Callable[..., Path]:
    """A small suite that starts such a vLLM; `plan` is what it does beside serving."""

    def write(plan: dict[str, Any], **engine: Any) -> Path:
        section = {
            "kind": "vllm-server",
            "arguments": {"max_model_len": 256},
            "environment": installed(tmp_path / "fake", **plan),
            "check_accuracy": False,
        }
        spec = {
            "name": "served",
            "model": {"path": "tiny"},
            "engine": {**section, **engine},
            "workload": {"kind": "fixed", "prompt_tokens": 8, "output_tokens": 4, "sessions": SESSIONS},
            "load": {"kind": "closed", "concurrency": 4},
            "measure": {"percentiles": [0.5], "warmup_sessions": 1},
        }
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump({"suite": "served", "specs": [spec]}))
        return path

    return write


def record_in(folder: Path) -> dict[str, Any]:
    (result,) = folder.iterdir()
    record: dict[str, Any] = json.loads((result / "record.json").read_text())
    return record


def none_left(left: Path) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in json.loads(left.read_text())["pids"])


@pytest.mark.parametrize("processes", [1, 2])
def test_the_record_tells_how_it_started_and_what_it_did_while_it_was_measured(
    processes: int, suite_for: Callable[..., Path], bench: Callable[..., Any], tmp_path: Path
) -> None:
    left = tmp_path / "left"
    ran = bench("run", suite_for({"left": str(left)}, processes=processes), "--out", tmp_path / "runs")
    assert ran.code == 0, ran.err
    record = record_in(tmp_path / "runs")
    startup, engine = record["startup"], record["engine"]
    assert (startup["load_s"], startup["compile_s"], startup["capture_s"]) == (1.25, 2.5, 3.0)
    assert engine["kind"] == "vllm-server"
    assert (engine["version"], engine["accelerators"], engine["dtype"]) == ("0.32.0", 0, "bfloat16")
    assert engine["arguments"]["max_model_len"] == 256
    assert "--max-model-len=256" in json.loads(left.read_text())["arguments"]
    assert engine["settings"]["cudagraph_mode"] == "full"
    assert engine["cache"] == {"block_size": 16, "num_gpu_blocks": 100}
    # The warm-up's request is not among them.
    assert engine["did"]["scheduler"] == {
        "preemptions": SESSIONS,
        "prompt_tokens": 10 * SESSIONS,
        "output_tokens": 4 * SESSIONS,
    }
    assert engine["did"]["prefix_cache"]["hit_share"] == 0.5
    assert record["requests"]["completed"] == SESSIONS
    assert none_left(left)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_server_that_dies_meanwhile_ends_the_run_which_keeps_what_it_has(
    processes: int, suite_for: Callable[..., Path], bench: Callable[..., Any], tmp_path: Path
) -> None:
    left = tmp_path / "left"
    suite = suite_for({"ends_at": 12, "left": str(left)}, processes=processes)
    ran = bench("run", suite, "--out", tmp_path / "runs")
    assert ran.code == 3
    line = "vLLM was ended by SIGKILL: RuntimeError: it was told to break"
    assert ran.err.splitlines()[-1] == f"bench: {line}"
    record = record_in(tmp_path / "runs")
    assert (record["run"]["stopped"], record["run"]["stopped_because"]) == ("engine_failed", line)
    assert record["requests"]["completed"] > 0
    assert sum(record["requests"]["failed"].values()) > 0
    assert record["verdict"]["status"] == "invalid"
    assert none_left(left)


def test_an_interrupted_run_ends_its_server(suite_for: Callable[..., Path], tmp_path: Path) -> None:
    left, told = tmp_path / "left", tmp_path / "told"
    command = "from bench.cli.main import main; main()"
    endless = ("--set", "workload.sessions=20000", "--set", "workload.output_tokens=200")
    with told.open("w") as stderr:
        running = subprocess.Popen(
            [
                sys.executable,
                "-c",
                command,
                "run",
                suite_for({"left": str(left)}),
                *endless,
                "--out",
                tmp_path / "runs",
            ],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
            # What runs in a shell's background ignores it otherwise.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        assert soon(lambda: "served: measuring" in told.read_text(), 60)
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(60) == 130
    finally:
        running.kill()
        running.wait()
    assert record_in(tmp_path / "runs")["run"]["stopped"] == "interrupted"
    assert none_left(left)


def test_a_server_that_does_not_start_ends_the_run(
    suite_for: Callable[..., Path], bench: Callable[..., Any], tmp_path: Path
) -> None:
    ran = bench("run", suite_for({"says": "ValueError: bad head size"}), "--out", tmp_path / "runs")
    assert ran.code == 3
    assert ran.err.splitlines()[-1] == "bench: vLLM ended with exit code 1: ValueError: bad head size"


def test_an_argument_that_vllm_does_not_know_is_bad_input(
    suite_for: Callable[..., Path], bench: Callable[..., Any], tmp_path: Path
) -> None:
    suite = suite_for({"refuses": "--max-num-seq=4"}, arguments={"max_model_len": 256, "max_num_seq": 4})
    ran = bench("run", suite, "--out", tmp_path / "runs")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1].startswith("bench: engine.arguments: unrecognized arguments: --max-num-seq=4 ")
    assert not list(tmp_path.glob("runs/*"))


def test_an_argument_that_has_another_place_is_bad_input(
    suite_for: Callable[..., Path], bench: Callable[..., Any], tmp_path: Path
) -> None:
    ran = bench("run", suite_for({}, arguments={"port": 8000}), "--out", tmp_path / "runs")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == "bench: engine.arguments: port is not set here (allowed: engine.port)"
    assert not list(tmp_path.glob("runs/*"))
