"""Runs that are cut off, as real processes: what was measured is kept, nothing is left running, one line says why."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from processes import has_ended, workers
from waiting import soon

import bench as neobench
from bench.results.result import Result, scan

NATIVE = "{threads: 1, max_running: 4, kv_cache_tokens: 65536, overlap: true}"
"""With overlap the worker has one more thread to end."""
MOCK = "{kind: mock, ttft_ms: 2, tpot_ms: 2}"
ENDLESS = """
specs:
  - name: endless
    model: {path: tiny}
    engine: ENGINE
    workload: WORKLOAD
    load: {kind: closed, concurrency: 4}
    measure: {percentiles: [0.5], warmup_sessions: WARM_UP}
"""
REASONING = "{kind: reasoning, sessions: 20000, token_scale: 0.02}"
PATIENCE_S = 60.0
"""Bound of every wait: far beyond what any of them takes."""
COMMAND = "from bench.cli.main import main; main()"


@dataclass(frozen=True)
class Running:
    """`bench run` in a session of its own, as a terminal would start it."""

    process: subprocess.Popen[str]
    folder: Path

    @property
    def told(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def result(self) -> Result:
        (result,) = scan([self.folder / "runs"])
        return result

    def wait_until_starting(self) -> int:
        """The process id of the engine's worker, which has just been started."""
        assert soon(lambda: bool(workers(self.process.pid)), PATIENCE_S)
        (worker,) = workers(self.process.pid)
        return worker

    def wait_until_measured(self, turns: int = 3) -> None:
        """Return when `turns` turns have been completed and written."""
        assert soon(lambda: "endless: measuring" in self.told, PATIENCE_S)
        assert soon(lambda: len(completed(self.result)) >= turns, PATIENCE_S)

    def ends(self) -> int:
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `bench run` on a suite that would take hours; what still runs after the test is killed."""
    with contextlib.ExitStack() as stack:

        def begin(
            engine: str, *, workload: str = REASONING, warm_up: int = 1, largest_file: int | None = None
        ) -> Running:
            def limit() -> None:
                signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
                if largest_file is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

            suite = tmp_path / "endless.yaml"
            text = ENDLESS.replace("ENGINE", engine).replace("WORKLOAD", workload)
            suite.write_text(text.replace("WARM_UP", str(warm_up)))
            process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, "run", suite, "--out", tmp_path / "runs"],
                stdout=subprocess.DEVNULL,
                stderr=stack.enter_context((tmp_path / "stderr").open("w")),
                text=True,
                start_new_session=True,
                preexec_fn=limit,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return Running(process, tmp_path)

        yield begin


def completed(result: Result) -> Any:
    """The turns that were measured and completed, as an Arrow table in the order they were written."""
    turns = result.tables().turns
    return turns.filter(pc.and_(pc.equal(turns["status"], "ok"), pc.invert(turns["warmup"])))


def reasons(result: Result) -> list[str]:
    return [reason["code"] for reason in result.record.verdict.reasons]


def assert_kept(bench: Callable[..., Any], result: Result, reason: str) -> None:
    """The result is sealed, invalid for `reason`, and every later verb can read it."""
    assert result.finished
    assert result.record.verdict.status == "invalid"
    assert reason in reasons(result)
    assert {file.suffix for file in result.path.iterdir()} == {".json", ".jsonl", ".parquet"}
    assert bench("verify", result.path).code == 0
    compared = bench("compare", result.path, "--json")
    assert compared.code == 1
    assert not any(row["comparable"] for row in compared.json["rows"])
    assert list(neobench.load(result.path)["verdict"]) == ["invalid"]


def assert_readable(bench: Callable[..., Any], result: Result) -> None:
    """The result was not brought to its end, says so, and can be read as far as it goes."""
    assert not result.finished
    assert reasons(result) == ["interrupted"]
    assert bench("compare", result.path).code == 1
    assert bench("verify", result.path).code == 1
    assert list(neobench.load(result.path)["verdict"]) == ["invalid"]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_measuring(
    start: Callable[..., Running], bench: Callable[..., Any], stop: signal.Signals
) -> None:
    running = start(NATIVE)
    worker = running.wait_until_starting()
    running.wait_until_measured()
    before = completed(running.result)
    os.killpg(running.process.pid, stop)
    assert running.ends() == 130
    assert running.told.endswith("endless: measuring\nbench: interrupted\n")
    assert has_ended(worker)
    assert_kept(bench, running.result, "interrupted")
    after = completed(running.result)
    assert after.slice(0, len(before)).equals(before)
    assert running.result.record.requests["completed"] == len(after)


def test_stopped_by_someone_impatient(start: Callable[..., Running], bench: Callable[..., Any]) -> None:
    running = start(MOCK)
    running.wait_until_measured()
    for _ in range(3):
        os.killpg(running.process.pid, signal.SIGINT)
        time.sleep(0.005)
    assert running.ends() == 130
    assert running.told.endswith("endless: measuring\nbench: interrupted\n")
    assert_kept(bench, running.result, "interrupted")


def test_stopped_while_the_engine_starts(start: Callable[..., Running], bench: Callable[..., Any]) -> None:
    running = start(NATIVE)
    worker = running.wait_until_starting()
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.ends() == 130
    assert running.told == "endless: starting the engine\nbench: interrupted\n"
    assert has_ended(worker)
    assert_kept(bench, running.result, "interrupted")
    assert len(running.result.tables().turns) == 0


def test_killed(start: Callable[..., Running], bench: Callable[..., Any]) -> None:
    running = start(NATIVE)
    worker = running.wait_until_starting()
    running.wait_until_measured()
    before = completed(running.result)
    running.process.kill()
    running.ends()
    assert soon(lambda: has_ended(worker), PATIENCE_S)
    assert completed(running.result).slice(0, len(before)).equals(before)
    assert_readable(bench, running.result)


def test_the_engine_is_killed(start: Callable[..., Running], bench: Callable[..., Any]) -> None:
    running = start(NATIVE)
    worker = running.wait_until_starting()
    running.wait_until_measured()
    os.kill(worker, signal.SIGKILL)
    assert running.ends() == 3
    assert running.told.endswith("endless: measuring\nbench: the engine's process was ended by SIGKILL\n")
    assert_kept(bench, running.result, "engine_failed")
    assert len(completed(running.result)) >= 3


def test_the_engine_is_killed_in_its_last_turns(start: Callable[..., Running], bench: Callable[..., Any]) -> None:
    """Nothing is left to be sent, and so nothing that a lost engine could refuse."""
    running = start(NATIVE, workload="{kind: fixed, sessions: 2, prompt_tokens: 8, output_tokens: 30000}", warm_up=0)
    worker = running.wait_until_starting()
    assert soon(lambda: "endless: measuring" in running.told, PATIENCE_S)
    time.sleep(0.5)  # both are sent by then; a turn that was not would be refused, as in the test above
    os.kill(worker, signal.SIGKILL)
    assert running.ends() == 3
    assert running.told.endswith("bench: the engine's process was ended by SIGKILL\n")
    assert_kept(bench, running.result, "engine_failed")


@pytest.mark.parametrize(("largest_file", "sealed"), [(20_000, False), (100_000, True)])
def test_the_disk_is_full(
    start: Callable[..., Running], bench: Callable[..., Any], largest_file: int, sealed: bool
) -> None:
    running = start(MOCK, largest_file=largest_file)
    assert running.ends() == 2
    *_, phase, line = running.told.splitlines()
    assert phase == "endless: measuring"
    assert line.startswith(f"bench: {running.result.path}")
    assert line.endswith(": cannot be written: File too large (allowed: a folder with room)")
    result = running.result
    if sealed:  # what the stream refused still found room as Parquet
        assert_kept(bench, result, "storage_failed")
        assert len(completed(result)) > 0
    else:
        assert_readable(bench, result)
