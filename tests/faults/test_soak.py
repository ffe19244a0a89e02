"""Soaks that are disturbed: an engine that is killed, Ctrl-C, a program that dies, what was asked wrongly."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import has_ended, workers
from waiting import soon

from bench.results.result import scan
from bench.results.soak_log import SoakLog, read_soak, soaks_below

TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny"
SUITE = """
specs:
  - name: steady
    model: {path: tiny}
    engine: ENGINE
    workload: {kind: fixed, sessions: 5000, prompt_tokens: 8, output_tokens: 8}
    load: {kind: closed, concurrency: 4, recycle: true}
    measure: {percentiles: [0.5], warmup_sessions: 1, max_seconds: 0.4}
"""
NATIVE = "{threads: 1, max_running: 4, kv_cache_tokens: 16384}"
MOCK = "{kind: mock, ttft_ms: 2, tpot_ms: 0.5}"
PATIENCE_S = 60.0
"""Bound of every wait: far beyond what any of them takes."""
COMMAND = "from bench.cli.main import main; main()"
ONE_HOUR = ("node", "soak", "--json", "--hours", "1")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "steady.yaml"
    path.write_text(SUITE.replace("ENGINE", MOCK))
    return path


@dataclass(frozen=True)
class Soaking:
    """`bench node soak` in a process of its own, for an hour."""

    process: subprocess.Popen[str]
    folder: Path

    @property
    def log(self) -> SoakLog:
        (folder,) = soaks_below([self.folder / "runs"])
        return read_soak(folder)

    @property
    def report(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "stdout").read_text()))

    def wait_until(self, true: Callable[[SoakLog], bool]) -> None:
        assert soon(lambda: bool(soaks_below([self.folder / "runs"])), PATIENCE_S)
        assert soon(lambda: true(self.log), PATIENCE_S), (self.folder / "stderr").read_text()

    def is_stopped_while_it_writes(self) -> bool:
        """Stops it, and lets it go on where no result was being written."""
        self.process.send_signal(signal.SIGSTOP)
        if len(list((self.log.path / "segments").iterdir())) > len(self.log.segments):
            return True
        self.process.send_signal(signal.SIGCONT)
        return False

    def ends(self) -> int:
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def start(suite: Path, tmp_path: Path) -> Iterator[Callable[[str], Soaking]]:
    """Starts a soak; what still runs after the test is killed."""
    with contextlib.ExitStack() as stack:

        def begin(engine: str) -> Soaking:
            suite.write_text(SUITE.replace("ENGINE", engine))
            process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, *ONE_HOUR, "--load", suite, "--out", tmp_path / "runs"],
                stdout=stack.enter_context((tmp_path / "stdout").open("w")),
                stderr=stack.enter_context((tmp_path / "stderr").open("w")),
                text=True,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return Soaking(process, tmp_path)

        yield begin


@pytest.mark.slow
def test_the_engine_is_killed_comes_back_and_the_soak_is_stopped(
    start: Callable[[str], Soaking], bench: Callable[..., Any]
) -> None:
    running = start(NATIVE)
    running.wait_until(lambda log: len(log.segments) >= 2)
    assert {segment.engine for segment in running.log.segments} == {1}
    (worker,) = workers(running.process.pid)
    os.kill(worker, signal.SIGKILL)
    running.wait_until(lambda log: len(log.segments) >= 2 and log.segments[-2].engine == 2)
    (second,) = workers(running.process.pid)
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.ends() == 130
    assert has_ended(second)

    report = running.report
    soaked = report["soaked"]
    assert report["ended"] == "interrupted"
    assert soaked["restarts"] == 1
    (outage,) = soaked["outages"]
    assert outage["failure"] == "the engine's process was ended by SIGKILL"
    assert (outage["starts"], outage["repaired"]) == (1, True)
    assert outage["down_s"] == soaked["time_to_recover_s"] > 0
    availability = soaked["availability"]
    assert availability["low"] < availability["observed"] < availability["high"] < 1
    assert availability["observed"] == availability["up_s"] / (availability["up_s"] + availability["down_s"])
    assert availability["unobserved_s"] > 0  # the first start, at least

    records = {result.record.id: result.record for result in scan([running.log.path])}
    for segment in running.log.segments:
        record = records[segment.record]
        reasons = {reason["code"] for reason in record.verdict.reasons}
        assert ("engine_failed" in reasons) == (segment.failure is not None)
        assert (record.startup is None) == (segment.engine_start_s is None)
        assert record.energy is not None
    assert bench("verify", running.log.path).code == 0


@pytest.mark.slow
def test_the_program_is_killed_and_goes_on(
    start: Callable[[str], Soaking], bench: Callable[..., Any], tmp_path: Path
) -> None:
    running = start(MOCK)
    running.wait_until(lambda log: len(log.segments) >= 2)
    folder = running.log.path
    assert soon(running.is_stopped_while_it_writes, PATIENCE_S)
    running.process.kill()
    running.ends()
    before = running.log
    assert before.ended is None
    assert bench("verify", folder).code == 1  # what was being written is no finished result, and there is no report

    log = folder / "soak.jsonl"
    log.write_text(log.read_text().replace('"seconds":3600.0', f'"seconds":{before.watched_s + 1}'))
    again = bench("node", "soak", "--resume", folder, "--json")
    assert again.code == 1, again.err
    after = read_soak(folder)
    assert after.segments[: len(before.segments)] == before.segments
    assert len(after.segments) > len(before.segments)
    assert len(after.abandoned) == 1
    report = again.json
    assert (report["resumed"], report["ended"]) == (1, "its time was over")
    assert report["soaked"]["outages"] == []
    assert report["soaked"]["availability"]["observed"] == 1
    assert bench("verify", folder).code == 0

    over = bench("node", "soak", "--resume", folder)
    assert over.code == 2
    assert "time was over when it ended" in over.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--hours: no time"),
        (("--hours", "nan"), "--hours: nan (allowed: a number from 0)"),
        (("--minutes", "inf"), "--minutes: inf (allowed: a number from 0)"),
        (("--hours", "-1"), "--hours: -1 (allowed: a number from 0)"),
        (("--hours", "soon"), "Invalid value for '--hours'"),
        (("--hours", "1", "--load", "smoke"), "a soak is of one case, and here are 2 (allowed: --case, of reasoning"),
        (("--hours", "1", "--load", "smoke", "--case", "x"), "no case 'x' (allowed: reasoning, agentic)"),
        (("--hours", "1", "--set", "load.concurrency=0"), "load.concurrency"),
        (("--hours", "1", "--set", "load.search=slo", "--set", "slo.ttft_ms=9"), "load.search varies the load"),
        (("--hours", "1", "--set", "power.idle_s=5"), "power.idle_s waits before each segment"),
        (("--hours", "1", "--out", "/proc/soak"), "/proc/soak: cannot be written"),
        (("--resume", "/proc"), "/proc: is no soak (allowed: a folder with a soak.jsonl)"),
        (("--resume", "/proc", "--hours", "2"), "--hours: given (allowed: nothing beside --resume"),
    ],
)
def test_what_is_asked_wrongly(
    bench: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = bench("node", "soak", *arguments)
    assert (ran.code, ran.out) == (2, "")
    *_, line = ran.err.splitlines()
    assert line.startswith("bench: ")
    assert told in line
    assert not list(tmp_path.iterdir())


def test_a_case_that_only_its_engine_refuses_leaves_nothing(bench: Callable[..., Any], tmp_path: Path) -> None:
    model = shutil.copytree(TINY, tmp_path / "model")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    runs = tmp_path / "runs"
    ran = bench("node", "soak", "--hours", "1", "--out", runs, "--set", f"model.path={model}")
    assert ran.code == 2, ran.err
    assert "model.safetensors" in ran.err
    assert not list(runs.iterdir())


def test_a_soak_that_was_tampered_with(bench: Callable[..., Any], suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    assert bench("node", "soak", "--minutes", "0.01", "--load", suite, "--out", out).code == 1
    (folder,) = soaks_below([out])
    assert bench("verify", out).code == 0
    report = folder / "soak.json"
    report.write_text(report.read_text().replace('"outages": []', '"outages": [1]'))
    assert "soaked.outages" in bench("verify", out).out
    log = folder / "soak.jsonl"
    log.write_text(log.read_text().replace('"up_from_s":0', '"up_from_s":1'))
    assert "log_sha256" in bench("verify", out).out
    report.unlink()
    assert "soak.json: stored missing" in bench("verify", out).out
