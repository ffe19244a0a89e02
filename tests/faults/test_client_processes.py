"""Clients in processes of their own: one schedule, one log, and none left behind however a run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mock_serving import serving
from waiting import soon

from bench.engine.mock_server.settings import MockServerSettings
from bench.results.result import Result, scan

PATIENCE_S = 60.0
"""Bound of every wait: far beyond what any of them takes."""
COMMAND = "from bench.cli.main import main; main()"
SUITE = """
specs:
  - name: shared
    model: {{path: tiny}}
    engine: {{kind: endpoint, base_url: "{url}", processes: 2, max_context_tokens: 4096}}
    workload:
      {{kind: fixed, sessions: {sessions}, prompt_tokens: 64, shared_prefix_tokens: 16, output_tokens: {output}}}
    load: {load}
    measure: {{percentiles: [0.5], warmup_sessions: 1}}
"""
LANES = "{kind: closed, concurrency: 8}"
ENDLESS = "{kind: closed, concurrency: 8, recycle: true}"
HOURS = ("--set", "measure.max_seconds=36000")
Write = Callable[..., Path]


@pytest.fixture
def url() -> Iterator[str]:
    with serving(MockServerSettings(ttft_ms=2.0, gap_ms=1.0)) as address:
        yield address


@pytest.fixture
def write(tmp_path: Path, url: str) -> Write:
    """Writes a suite and returns its path."""

    def suite(load: str, *, sessions: int = 100, output: int = 4) -> Path:
        path = tmp_path / "processes.yaml"
        path.write_text(SUITE.format(url=url, load=load, sessions=sessions, output=output))
        return path

    return suite


def measured(result: Result) -> list[dict[str, Any]]:
    return [row for row in result.tables().turns.to_pylist() if not row["warmup"]]


def the_result(folder: Path) -> Result:
    (result,) = scan([folder])
    return result


def clients_of(pid: int) -> list[int]:
    """Client processes among the children of `pid`."""
    children = (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()
    return [int(child) for child in children if b"bench.client.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_every_session_is_sent_once_and_knows_what_was_shared(
    bench: Callable[..., Any], write: Write, tmp_path: Path
) -> None:
    ran = bench("run", write(LANES), "--out", tmp_path / "runs", "--json")
    (record,) = ran.json["records"]
    rows = measured(the_result(tmp_path / "runs"))
    assert sorted(row["session_id"] for row in rows) == sorted({row["session_id"] for row in rows})
    assert (len(rows), record["requests"]["completed"]) == (100, 100)
    by_sending = sorted(rows, key=lambda row: row["t_send_ns"])
    assert [row["shared_tokens"] for row in by_sending] == [0] + [16] * 99
    assert record["run"]["client"]["processes"] == 2
    asked = [client["connections"] for client in record["engine"]["clients"]]
    assert sum(one["opened"] + one["reused"] for one in asked) >= 100
    assert bench("verify", the_result(tmp_path / "runs").path).code == 0


def test_arrivals_keep_one_clock(bench: Callable[..., Any], write: Write, tmp_path: Path) -> None:
    suite = write("{kind: constant, sessions_per_s: 250}")
    assert bench("run", suite, "--out", tmp_path / "runs").code in (0, 1)
    due_ns = sorted(row["t_due_ns"] for row in measured(the_result(tmp_path / "runs")))
    assert [t_ns - due_ns[0] for t_ns in due_ns] == [4_000_000 * i for i in range(100)]


def test_recycled_sessions_are_taken_from_one_count(bench: Callable[..., Any], write: Write, tmp_path: Path) -> None:
    suite = write("{kind: closed, concurrency: 6, recycle: true}", sessions=8)
    bench("run", suite, "--set", "measure.max_seconds=0.6", "--out", tmp_path / "runs")
    names = [row["session_id"] for row in measured(the_result(tmp_path / "runs"))]
    assert len(names) == len(set(names)) > 16
    plays = [int(name.partition("+")[2] or 0) for name in names]
    complete = max(plays) - 2
    assert all(plays.count(play) == 8 for play in range(complete))


@pytest.fixture
def start(write: Write, tmp_path: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], list[int]]]]:
    """Begins a run that would take hours; returns it and its clients once they have sent something."""
    begun: list[subprocess.Popen[str]] = []

    def has_measured() -> bool:
        return any(tmp_path.glob("runs/*/record.json")) and bool(measured(the_result(tmp_path / "runs")))

    def begin() -> tuple[subprocess.Popen[str], list[int]]:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                COMMAND,
                "run",
                write(LANES, sessions=100_000, output=40),
                "--out",
                tmp_path / "runs",
            ],
            stdout=subprocess.DEVNULL,
            stderr=(tmp_path / "told").open("w"),
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        begun.append(process)
        assert soon(has_measured, PATIENCE_S)
        return process, clients_of(process.pid)

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}/cmdline").exists()


@pytest.mark.slow
def test_a_client_that_dies_ends_the_run_and_what_was_logged_is_kept(
    start: Callable[..., Any], bench: Callable[..., Any], tmp_path: Path
) -> None:
    process, clients = start()
    assert len(clients) == 2
    os.kill(clients[1], signal.SIGKILL)
    assert process.wait(PATIENCE_S) == 3
    assert (tmp_path / "told").read_text().endswith("bench: a client process was ended by SIGKILL\n")
    result = the_result(tmp_path / "runs")
    assert result.record.verdict.reasons[0]["code"] == "engine_failed"
    assert result.record.requests["completed"] > 0
    assert bench("verify", result.path).code == 0
    assert all(map(is_gone, clients))


def test_ctrl_c_keeps_what_was_in_flight(start: Callable[..., Any], tmp_path: Path) -> None:
    process, clients = start()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    assert (tmp_path / "told").read_text().endswith("measuring\nbench: interrupted\n")
    assert sum(row["status"] == "cancelled" for row in measured(the_result(tmp_path / "runs"))) > 0
    assert all(map(is_gone, clients))


@pytest.mark.slow
def test_clients_end_with_a_run_that_was_killed(start: Callable[..., Any]) -> None:
    process, clients = start()
    process.kill()
    process.wait()
    assert soon(lambda: all(map(is_gone, clients)))
