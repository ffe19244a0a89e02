"""The two clients that are compared: `bench run`, and the floor that only reads. Each is a process on one core."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import yaml
from mock_process import BENCH, MockProcess, Truth, on_core

from bench.core.units import NS_PER_S

HERE = Path(__file__).parent
_SAMPLE_SECONDS = 0.02
_RUN_SECONDS = 180.0


class ClientError(Exception):
    """A client did not do what it was asked; the other scenarios go on."""


@dataclass(frozen=True)
class Ran:
    """One run as its client and its server saw it. Times are on the machine's monotonic clock, in nanoseconds."""

    truth: Truth
    sent_ns: np.ndarray
    """In the order of sending, as all that follows."""
    first_ns: np.ndarray
    """First token."""
    chunks_ns: list[np.ndarray]
    """Each packet with tokens."""
    end_ns: int
    cpu_seconds: float
    """Of the client from its first request to its last answer."""
    waited_seconds: float
    """How long in that time it was ready to run and its core did something else."""
    peak_bytes: int
    spawned_ns: int

    @property
    def seconds(self) -> float:
        return float(self.end_ns - self.sent_ns[0]) / NS_PER_S


def run_bench(
    core: int, server: MockProcess, workload: dict[str, Any], load: dict[str, Any], *, api: str = "completions"
) -> Ran:
    """What `bench run` reports of one case of pinned lengths, asked of `server`. Raises ClientError."""
    server.reset()
    with tempfile.TemporaryDirectory(prefix="client-") as folder:
        suite = Path(folder) / "client.yaml"
        suite.write_text(yaml.safe_dump({"suite": "client", "specs": [_spec(server.url, api, workload, load)]}))
        spawned_ns = time.monotonic_ns()
        with on_core(core), open(Path(folder) / "output", "wb+") as output:
            process = subprocess.Popen(
                [*BENCH, "run", suite, "--out", f"{folder}/runs"],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        samples, peak_bytes = _watch(process)
        results = list(Path(folder, "runs").glob("*/turns.parquet"))
        if process.returncode not in (0, 1) or not results:
            lines = Path(folder, "output").read_text(errors="replace").strip().splitlines()
            raise ClientError(lines[-1] if lines else f"exit code {process.returncode}")
        turns = pd.read_parquet(results[0]).sort_values("t_send_ns")
    failed = turns[turns.status != "ok"]
    if len(failed):
        raise ClientError(f"{len(failed)} of {len(turns)} requests failed, the first with {failed.error.iloc[0]!r}")
    truth = server.truth()
    end_ns = max(int(turns.t_done_ns.max()), max(request["t_end_ns"] for request in truth.requests))
    began_ns = min(request["t_received_ns"] for request in truth.requests)
    return Ran(
        truth,
        turns.t_send_ns.to_numpy(),
        turns.t_first_ns.to_numpy(),
        [np.cumsum(chunks) for chunks in turns.chunk_t_ns],
        end_ns,
        *_between(samples, began_ns, end_ns),
        peak_bytes,
        spawned_ns,
    )


def run_floor(core: int, server: MockProcess, *, open_streams: int, requests: int, output_tokens: int) -> Ran:
    """The same from the loop that parses nothing. Its packets are counted by their order: the head comes first."""
    server.reset()
    place = urlsplit(server.url)
    task = {"host": place.hostname, "port": place.port, "open": open_streams, "requests": requests}
    task |= {"output_tokens": output_tokens, "prompt_tokens": 16}
    spawned_ns = time.monotonic_ns()
    with tempfile.TemporaryFile() as output:
        with on_core(core):
            process = subprocess.Popen(
                [sys.executable, HERE / "floor.py", json.dumps(task)], stdout=output, stderr=output
            )
        samples, peak_bytes = _watch(process)
        output.seek(0)
        printed = output.read()
    if process.returncode:
        raise ClientError(f"the floor: {printed.decode(errors='replace').strip()}")
    told = json.loads(printed)
    order = np.argsort(told["sent_ns"], kind="stable")
    packets = [np.array(told["packets_ns"][index]) for index in order]
    after_head = [one[1:] if len(one) > 1 else one for one in packets]
    began_ns, end_ns = min(told["sent_ns"]), int(max(one[-1] for one in packets))
    return Ran(
        server.truth(),
        np.array(told["sent_ns"])[order],
        np.array([one[0] for one in after_head]),
        after_head,
        end_ns,
        *_between(samples, began_ns, end_ns),
        peak_bytes,
        spawned_ns,
    )


def _spec(url: str, api: str, workload: dict[str, Any], load: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "client",
        "model": {"path": "tiny"},
        "engine": {"kind": "endpoint", "base_url": url, "api": api, "served_model": "mock"},
        "workload": {"kind": "fixed", "prompt_tokens": 16, "length_mode": "pinned", **workload},
        "load": load,
        "measure": {"warmup_sessions": 0, "percentiles": [0.5]},
    }


def _watch(process: subprocess.Popen[bytes]) -> tuple[list[tuple[int, int, int]], int]:
    """Time, CPU time and time without a core of `process` again and again until its end, and the most memory it had."""
    samples: list[tuple[int, int, int]] = []
    peak_bytes = 0
    give_up = time.monotonic() + _RUN_SECONDS
    folder = Path("/proc", str(process.pid))
    while process.poll() is None:
        if time.monotonic() > give_up:
            process.kill()
        try:
            tasks = [task.read_text().split() for task in folder.glob("task/*/schedstat")]
            status = (folder / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):  # a thread ended, or all of it
            continue
        samples.append((time.monotonic_ns(), sum(int(task[0]) for task in tasks), sum(int(task[1]) for task in tasks)))
        kib = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0")
        peak_bytes = max(peak_bytes, 1024 * int(kib))
        time.sleep(_SAMPLE_SECONDS)
    return samples, peak_bytes


def _between(samples: list[tuple[int, int, int]], began_ns: int, end_ns: int) -> tuple[float, float]:
    times, *series = zip(*samples, strict=True)
    began, end = ([float(np.interp(t_ns, times, one)) / NS_PER_S for one in series] for t_ns in (began_ns, end_ns))
    return end[0] - began[0], end[1] - began[1]
