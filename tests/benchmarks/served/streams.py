"""Requests asked of an engine at once, and the tokens a second they came with."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import EngineError
from bench.core.protocols import Engine
from bench.core.records import Chunk, Finish
from bench.core.sessions import Sampling, Segment, Turn, TurnRequest
from bench.core.units import NS_PER_S

_ANSWER_SECONDS = 120.0


@dataclass(frozen=True)
class Streamed:
    tokens_per_s: float
    """All that was generated, over the time from the first request to the end of the last answer."""
    server_s_per_token: float | None
    """CPU time of the process that answers over HTTP, without its engine's; None where no process does."""


class _Answer:
    """The sink of one turn."""

    def __init__(self) -> None:
        self.tokens = 0
        self.ended: asyncio.Future[Finish] = asyncio.get_running_loop().create_future()

    def chunk(self, chunk: Chunk) -> None:
        self.tokens += chunk.n_tokens

    def finish(self, finish: Finish) -> None:
        self.ended.set_result(finish)


def requests(streams: int, prompt_tokens: int, output_tokens: int, *, vocabulary: int) -> list[TurnRequest]:
    """Pinned in length, their prompts random ids below `vocabulary`."""
    draw = random.Random(0)
    turn = Turn(0, (Segment("prompt", prompt_tokens),), output_tokens)
    return [
        TurnRequest(
            f"stream-{index}",
            turn,
            tuple(draw.choices(range(vocabulary), k=prompt_tokens)),
            output_tokens,
            ignore_eos=True,
            sampling=Sampling(),
        )
        for index in range(streams)
    ]


async def stream(engine: Engine, asked: Sequence[TurnRequest], server_pid: int | None = None) -> Streamed:
    """Ask all of them of a started engine at once and wait for their ends. Raises EngineError where one has no good."""
    await engine.expect(len(asked))
    prepared = [engine.prepare(request) for request in asked]
    cpu_s = 0.0 if server_pid is None else cpu_seconds(server_pid)
    began_ns = time.monotonic_ns()
    answers = []
    for request in prepared:
        answers.append(_Answer())
        await engine.submit(request, answers[-1])
    async with asyncio.timeout(_ANSWER_SECONDS):
        finishes = [await answer.ended for answer in answers]
    seconds = (time.monotonic_ns() - began_ns) / NS_PER_S
    for request, answer, finish in zip(asked, answers, finishes, strict=True):
        if finish.reason != "length" or answer.tokens != request.max_tokens:
            raise EngineError(f"{answer.tokens} of {request.max_tokens} tokens: {finish.error or finish.reason}")
    tokens = sum(answer.tokens for answer in answers)
    spent_s = None if server_pid is None else (cpu_seconds(server_pid) - cpu_s) / tokens
    return Streamed(tokens / seconds, spent_s)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all of its threads, in steps of the kernel's clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
