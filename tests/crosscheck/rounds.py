"""All clients in turn on one server after another, and what they saw compared."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asked import Request
from attribution import Gap, gaps, mean_gaps
from client_neobench import NAME as OURS
from clients import ClientError, Task
from crosscheck_table import Comparison
from definitions import Load
from exchanges import Cell, Habits, Seen
from servers import MODEL, Running, Server, ServerError, running

from bench.core.load_spec import ClosedLoadSpec, ConstantLoadSpec

OPEN_STREAMS = 16


@dataclass(frozen=True)
class Scenario:
    api: str
    open_loop: bool = False

    def load(self, server: Server) -> Load:
        if self.open_loop:
            return ConstantLoadSpec(kind="constant", sessions_per_s=server.requests_per_s)
        return ClosedLoadSpec(kind="closed", concurrency=OPEN_STREAMS)

    def told(self, server: Server) -> str:
        return f"{self.api}, {f'{server.requests_per_s:g} requests/s' if self.open_loop else f'{OPEN_STREAMS} open'}"


SCENARIOS = (Scenario("completions"), Scenario("chat"), Scenario("completions", open_loop=True))


@dataclass
class Rounds:
    """What is asked by whom, and what came of it so far."""

    requests: list[Request]
    clients: Mapping[str, Callable[[Task], Seen]]
    """Ours among them."""
    give_up: float
    """On the monotonic clock: no run begins after it."""
    core: int = field(default_factory=lambda: min(os.sched_getaffinity(0)))
    """The server's; clients have the others."""
    failures: list[str] = field(default_factory=list)
    _found: dict[tuple[str, str, str], list[list[Gap]]] = field(default_factory=dict)
    """By server, scenario and client, a list a round."""

    @property
    def comparisons(self) -> list[Comparison]:
        return [Comparison(*place, mean_gaps(rounds), len(rounds)) for place, rounds in self._found.items()]

    def round(self, number: int, servers: Sequence[Server]) -> None:
        """Each client once in each scenario on each server. Another one is first every time."""
        for server in servers:
            try:
                with running(server, self.core) as answering:
                    for place, scenario in enumerate(SCENARIOS):
                        self._scenario(server, answering, scenario, turn=number + place)
            except ServerError as error:
                self._failed(f"{server.name}: {error}")

    def _scenario(self, server: Server, answering: Running, scenario: Scenario, turn: int) -> None:
        told, load = scenario.told(server), scenario.load(server)
        habits = answering.habits(chat=scenario.api == "chat")
        names = list(self.clients)
        cells: dict[str, Cell] = {}
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.monotonic()
            try:
                cells[name] = self._run(name, answering, scenario, load, habits)
            except (ClientError, ServerError) as error:
                self._failed(f"{server.name}, {told}: {name}: {error}")
            print(f"{server.name}, {told}: {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        for name in names:
            if name == OURS or name not in cells or OURS not in cells:
                continue
            try:
                found = gaps(cells[name], cells[OURS], load, habits)
            except ValueError as error:
                self._failed(f"{server.name}, {told}: {name}: {error}")
            else:
                self._found.setdefault((server.name, told, name), []).append(found)

    def _run(self, name: str, answering: Running, scenario: Scenario, load: Load, habits: Habits) -> Cell:
        """One client's run. Raises ClientError or ServerError."""
        if time.monotonic() > self.give_up:
            raise ClientError("no time was left")
        with tempfile.TemporaryDirectory(prefix="crosscheck-") as folder:
            task = Task(
                url=answering.url,
                model=answering.model,
                tokenizer=MODEL,
                chat=scenario.api == "chat",
                load=load,
                requests=self.requests,
                warm_up=OPEN_STREAMS,
                habits=habits,
                core=self.core,
                folder=Path(folder),
            )
            answering.reset()
            seen = self.clients[name](task)
            return Cell(seen, answering.truth(len(self.requests)))

    def _failed(self, why: str) -> None:
        print(why, file=sys.stderr, flush=True)
        self.failures.append(why)
