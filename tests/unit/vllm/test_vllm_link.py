"""vLLM's process and the driver, both sending at once."""

from __future__ import annotations

import asyncio
import threading
from array import array
from multiprocessing.connection import Connection, Pipe
from typing import Any

from bench.core.records import Counters
from bench.core.sessions import Sampling
from bench.engine.vllm_process.link import Link
from bench.engine.vllm_process.messages import Command, Stop, Submit, Update

_PROMPTS = 8
_REPORTS = 400
_SECONDS = 30.0


def driver(connection: Connection[Any, Any], reports: list[Any]) -> None:
    """Reads nothing until it has sent all it has."""
    prompt = array("i", [5]) * 100_000
    for number in range(_PROMPTS):
        connection.send(Submit(number, prompt, 1, True, Sampling(), None, 0))
    connection.send(Stop())
    reports.extend(connection.recv() for _ in range(_REPORTS))


async def serve(connection: Connection[Any, Any], commands: list[Command]) -> None:
    stopped = asyncio.Event()

    def receive(command: Command) -> None:
        commands.append(command)
        if isinstance(command, Stop):
            stopped.set()

    link = Link(connection)
    link.receive_all(receive)
    for number in range(_REPORTS):  # more than fits between the two
        link.send(Update(number, [(stream, (7,), None) for stream in range(200)], [], Counters()))
    await stopped.wait()


def test_neither_waits_for_the_other_to_read_where_prompts_are_long_and_tokens_many() -> None:
    theirs, ours = Pipe()
    reports: list[Any] = []
    commands: list[Command] = []
    both = [
        threading.Thread(target=driver, args=(theirs, reports), daemon=True),
        threading.Thread(target=lambda: asyncio.run(serve(ours, commands)), daemon=True),
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(_SECONDS)
    assert [one.is_alive() for one in both] == [False, False]
    assert [update.t_engine_ns for update in reports] == list(range(_REPORTS))
    assert [command.id for command in commands if isinstance(command, Submit)] == list(range(_PROMPTS))
    assert isinstance(commands[-1], Stop)
