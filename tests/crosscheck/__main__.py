"""Other people's clients and ours, asked the same of the same servers, with every gap between them explained.

    python tests/crosscheck [--quick] [--minutes M] [--out FILE] [--server NAME ...] [--client NAME ...]

One client at a time, on every core but the server's. Exit codes: 1 for a gap that is not explained, 3 where a client or
a server failed, or is not installed.
"""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import client_aiperf
import client_vllm
from asked import Request, draw_requests
from attribution import gaps
from client_aiperf import run_aiperf
from client_neobench import NAME as OURS
from client_neobench import run_neobench
from client_vllm import run_vllm
from clients import ClientError, Task
from crosscheck_table import Comparison, render
from definitions import Load
from exchanges import Cell, Seen
from servers import MODEL, SERVERS, Running, Server, ServerError, running
from versions import versions

from bench.core.load_spec import ClosedLoadSpec, ConstantLoadSpec

OPEN_STREAMS = 16
PROMPT_TOKENS, OUTPUT_TOKENS = 64, 32
CLIENTS: dict[str, tuple[Callable[[Task], Seen], Path | None]] = {
    OURS: (run_neobench, None),
    client_vllm.NAME: (run_vllm, client_vllm.ENVIRONMENT),
    client_aiperf.NAME: (run_aiperf, client_aiperf.ENVIRONMENT),
}


@dataclass(frozen=True)
class Scenario:
    name: str
    chat: bool
    open_loop: bool

    def load(self, server: Server) -> Load:
        if self.open_loop:
            return ConstantLoadSpec(kind="constant", sessions_per_s=server.requests_per_s)
        return ClosedLoadSpec(kind="closed", concurrency=OPEN_STREAMS)

    def told(self, server: Server) -> str:
        return f"{self.name}, {f'{server.requests_per_s:g} requests/s' if self.open_loop else f'{OPEN_STREAMS} open'}"


SCENARIOS = (
    Scenario("completions", chat=False, open_loop=False),
    Scenario("chat", chat=True, open_loop=False),
    Scenario("completions", chat=False, open_loop=True),
)


@dataclass
class Crosscheck:
    """What is asked, and what came of it so far."""

    requests: list[Request]
    clients: Sequence[str]
    core: int
    give_up: float
    """On the monotonic clock: nothing begins after it."""
    comparisons: list[Comparison]
    failures: list[str]

    def server(self, server: Server) -> None:
        try:
            with running(server, self.core) as answering:
                for scenario in SCENARIOS:
                    self._scenario(server, answering, scenario)
        except ServerError as error:
            self._failed(f"{server.name}: {error}")

    def _scenario(self, server: Server, answering: Running, scenario: Scenario) -> None:
        told, load = scenario.told(server), scenario.load(server)
        habits = answering.habits(chat=scenario.chat)
        cells: dict[str, Cell] = {}
        for name in self.clients:
            began = time.monotonic()
            if began > self.give_up:
                self._failed(f"{server.name}, {told}: {name}: no time was left")
                continue
            with tempfile.TemporaryDirectory(prefix="crosscheck-") as folder:
                task = Task(
                    url=answering.url,
                    model=answering.model,
                    tokenizer=MODEL,
                    chat=scenario.chat,
                    load=load,
                    requests=self.requests,
                    warm_up=OPEN_STREAMS,
                    habits=habits,
                    core=self.core,
                    folder=Path(folder),
                )
                answering.reset()
                try:
                    seen = CLIENTS[name][0](task)
                    cells[name] = Cell(seen, answering.truth(len(self.requests)))
                    if name != OURS and OURS in cells:
                        found = gaps(cells[name], cells[OURS], load, opens=habits.opens)
                        seconds = time.monotonic() - began
                        self.comparisons.append(Comparison(server.name, told, name, found, seconds))
                except (ClientError, ServerError, ValueError) as error:
                    self._failed(f"{server.name}, {told}: {name}: {error}")
            print(f"{server.name}, {told}: {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    def _failed(self, why: str) -> None:
        print(why, file=sys.stderr, flush=True)
        self.failures.append(why)


def main() -> int:
    options = _options()
    clients = [name for name in CLIENTS if name == OURS or name in options.client]
    for name in list(clients):
        environment = CLIENTS[name][1]
        if environment is not None and not (environment / "installed").exists():
            print(f"{name} is not installed: make env-{environment.name.removeprefix('.venv-')}", file=sys.stderr)
            return 3
    began = time.monotonic()
    count = 64 if options.quick else 340
    crosscheck = Crosscheck(
        requests=draw_requests(MODEL, count, PROMPT_TOKENS, OUTPUT_TOKENS),
        clients=clients,
        core=0,
        give_up=began + 60 * options.minutes,
        comparisons=[],
        failures=[],
    )
    for server in SERVERS:
        if server.name in options.server:
            crosscheck.server(server)
    page = render(crosscheck.comparisons, _about(count, time.monotonic() - began), crosscheck.failures)
    print(page)
    if options.out is not None:
        options.out.write_text(page)
    if crosscheck.failures:
        return 3
    return 1 if any(one.unexplained for one in crosscheck.comparisons) else 0


def _about(count: int, seconds: float) -> dict[str, str]:
    return {
        "measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, in {seconds:.0f} s, on {platform.machine()}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "requests": (
            f"{count} prompts of {PROMPT_TOKENS} tokens, {OUTPUT_TOKENS} tokens out with `ignore_eos` and temperature "
            f"0, after {OPEN_STREAMS} that do not count; the tokenizer of configs/models/tiny"
        ),
    }


def _options() -> argparse.Namespace:
    names, peers = [server.name for server in SERVERS], [name for name in CLIENTS if name != OURS]
    parser = argparse.ArgumentParser(prog="crosscheck", description="Hold our figures to other people's clients.")
    parser.add_argument("--quick", action="store_true", help="fewer requests, and so no p99")
    parser.add_argument("--minutes", type=float, default=9.0, help="begin no run later than this")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the tables there, too")
    parser.add_argument("--server", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {names}")
    parser.add_argument("--client", nargs="+", choices=peers, default=peers, metavar="NAME", help=f"of {peers}")
    return parser.parse_args()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and not before the servers are ended
    sys.exit(main())
