"""A model's reference in a process of its own, for engines that are not held to one by themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TypeVar

from bench.core.errors import EngineError
from bench.core.work import AccuracyFigures
from bench.engine.worker_process import WorkerProcess
from bench.native.accuracy_messages import Compare, MakeReference, NoReference, Probes, Question, Reply

Likely = tuple[tuple[int, float], ...]
"""The most likely tokens of one position and their log probabilities, the most likely first."""
R = TypeVar("R")


class NoReferenceError(Exception):
    """Why a model has no reference, in one line."""


class ReferenceProcess:
    """The process that measures stays as small as it was: torch is imported, and memory taken, in this one."""

    def __init__(self, model: Path) -> None:
        """Starts the process, which begins with the reference at once."""
        self._reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._process: WorkerProcess[Question, Reply] = WorkerProcess(
            "bench.native.accuracy_worker", self._receive, self._ended, "the reference's process"
        )
        self._process.send(MakeReference(str(model)))

    async def probes(self) -> tuple[tuple[int, ...], ...]:
        """The texts it was computed for, as many token ids each. Raises NoReferenceError where it was not."""
        return (await self._next(Probes)).token_ids

    async def figures(self, told: list[list[Likely]]) -> AccuracyFigures:
        """How far an engine is from it that told so much after each beginning of each text. To be asked last.

        Raises NoReferenceError where the process was lost.
        """
        try:
            self._process.send(Compare(told))
        except EngineError as error:
            raise NoReferenceError(str(error)) from None
        return await self._next(AccuracyFigures)

    async def close(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def _next(self, kind: type[R]) -> R:
        reply = await self._reply
        self._reply = asyncio.get_running_loop().create_future()
        if isinstance(reply, NoReference):
            raise NoReferenceError(reply.line)
        assert isinstance(reply, kind)
        return reply

    def _receive(self, reply: Reply) -> None:
        if not self._reply.done():  # whoever waited was interrupted
            self._reply.set_result(reply)

    def _ended(self, line: str) -> None:
        if not self._reply.done():
            self._reply.set_result(NoReference(line))
