"""What is measured. Each scenario starts its own server, and the clients take turns on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from clients import Ran, run_bench, run_floor
from measures import Errors, Pace, errors, open_at_most, pace
from mock_process import MockProcess, mock

from bench.core.units import NS_PER_S

OURS, FLOOR = "neobench", "plain epoll loop, no parsing (a floor)"
CHAT = "neobench, chats that begin with an empty role"


@dataclass(frozen=True)
class Setting:
    client_core: int
    server_core: int
    quick: bool
    rounds: int

    def size(self, whole: int, quick: int) -> int:
        return quick if self.quick else whole

    def server(self, *arguments: object) -> Any:
        return mock(self.server_core, *arguments)

    def bench(
        self,
        server: MockProcess,
        load: dict[str, Any],
        *,
        sessions: int,
        output_tokens: int,
        api: str = "completions",
    ) -> Ran:
        workload = {"sessions": sessions, "output_tokens": output_tokens}
        return run_bench(self.client_core, server, workload, load, api=api)

    def closed(self, server: MockProcess, client: str, open_streams: int, requests: int, output_tokens: int) -> Ran:
        if client == FLOOR:
            return run_floor(
                self.client_core, server, open_streams=open_streams, requests=requests, output_tokens=output_tokens
            )
        load = {"kind": "closed", "concurrency": open_streams}
        api = "chat" if client == CHAT else "completions"
        return self.bench(server, load, sessions=requests, output_tokens=output_tokens, api=api)

    def in_turns(self) -> Iterator[str]:
        for _ in range(self.rounds):
            yield from (FLOOR, OURS)


def precision(setting: Setting) -> list[dict[str, Any]]:
    """Errors of the times that are reported for 64 tokens, 50 ms to the first and 10 ms between them."""
    rows = []
    with setting.server("--ttft-ms", 50, "--gap-ms", 10) as server:
        for open_streams in (1, 16, 64, 256):
            requests = max(setting.size(8, 2) * open_streams, setting.size(8, 4))
            seen: dict[str, list[Errors]] = {OURS: [], FLOOR: []}
            for client in setting.in_turns():
                seen[client].append(errors(setting.closed(server, client, open_streams, requests, 64)))
            rows += [{"client": client, "open": open_streams, **_medians(each)} for client, each in seen.items()]
        chats = errors(setting.closed(server, CHAT, 16, setting.size(128, 32), 64))
        rows.append({"client": CHAT, "open": 16, **asdict(chats)})
    return rows


def throughput(setting: Setting) -> list[dict[str, Any]]:
    """Requests and events a second from a server that never waits, and what they cost of a core."""
    rows: dict[str, list[dict[str, float]]] = {OURS: [], FLOOR: []}
    one, many = setting.size(30_000, 8_000), setting.size(2_000, 500)
    with setting.server("--ttft-ms", 0, "--gap-ms", 0, "--events-per-write", 64) as server:
        for client in setting.in_turns():
            short = setting.closed(server, client, 64, one, 1)
            long = setting.closed(server, client, 16, many, 256)
            rows[client].append(
                {
                    "requests_per_s": one / short.seconds,
                    "cpu_s_per_1000_requests": 1000 * short.cpu_seconds / one,
                    "events_per_s": 256 * many / long.seconds,
                    "cpu_us_per_event": 1e6 * long.cpu_seconds / (256 * many),
                    "peak_mb": long.peak_bytes / 1e6,
                    "waited_share": short.waited_seconds / short.seconds,
                }
            )
    return [
        {"client": client, **{name: median(one[name] for one in each) for name in each[0]}}
        for client, each in rows.items()
    ]


def many_streams(setting: Setting) -> dict[str, Any]:
    """Memory with 15,000 streams open, and connections opened for 3,000 requests."""
    streams = setting.size(15_000, 2_000)
    wait_ms = setting.size(12_000, 3_000)
    with setting.server("--ttft-ms", wait_ms, "--gap-ms", 1000) as server:
        load = {"kind": "closed", "concurrency": streams}
        held = setting.bench(server, load, sessions=streams, output_tokens=4)
    with setting.server("--ttft-ms", 1, "--gap-ms", 0) as server:
        reused = setting.closed(server, OURS, 64, 3_000, 1)
    return {
        "streams": streams,
        "open_at_most": open_at_most(held),
        "peak_mb": held.peak_bytes / 1e6,
        "connections_for_3000_requests": reused.truth.connections,
    }


def open_loop(setting: Setting) -> list[Pace]:
    """How evenly constant arrivals are sent."""
    paces = []
    with setting.server("--ttft-ms", 50, "--gap-ms", 10) as server:
        for rate in (50, 200, 500, 2000):
            load = {"kind": "constant", "sessions_per_s": rate}
            ran = setting.bench(server, load, sessions=rate * setting.size(6, 2), output_tokens=8)
            paces.append(pace(ran, rate))
    return paces


def start(setting: Setting) -> dict[str, Any]:
    """Seconds from the start of the process until its first request was read."""
    seconds = []
    with setting.server("--ttft-ms", 1, "--gap-ms", 0) as server:
        for _ in range(setting.size(5, 2)):
            ran = setting.closed(server, OURS, 2, 2, 1)
            first_ns = min(request["t_received_ns"] for request in ran.truth.requests)
            seconds.append((first_ns - ran.spawned_ns) / NS_PER_S)
    return {"seconds_to_first_request": seconds}


SCENARIOS = {
    "precision": precision,
    "throughput": throughput,
    "many_streams": many_streams,
    "open_loop": open_loop,
    "start": start,
}


def _medians(rounds: list[Errors]) -> dict[str, float]:
    each = [asdict(one) for one in rounds]
    return {name: float(np.median([one[name] for one in each])) for name in each[0]}
