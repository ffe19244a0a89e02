"""Reads something again and again while a case runs, without holding up the loop that stamps its tokens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from types import TracebackType
from typing import Generic, Self, TypeVar

from bench.core.clock import Clock
from bench.core.units import NS_PER_S, ns_from_seconds

Row = TypeVar("Row")


class Sampler(Generic[Row]):
    """Reads rows while it is entered: first before its body and last after it, so that the body is covered.

    `read` runs in a thread of `threads`, or of the loop's own, because a driver may take milliseconds to answer and the
    event loop stamps tokens meanwhile; `on_rows` is called on the event loop, so a table needs no lock. An exception of
    either ends the sampling and is raised on leaving, unless the body raised its own.
    """

    def __init__(
        self,
        read: Callable[[], list[Row]],
        clock: Clock,
        on_rows: Callable[[list[Row]], None],
        interval_s: float,
        threads: Executor | None = None,
    ) -> None:
        self._read = read
        self._threads = threads
        self._clock = clock
        self._on_rows = on_rows
        self._interval_ns = ns_from_seconds(interval_s)
        self._leaving = asyncio.Event()
        self._sampling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._sample()
        self._sampling = asyncio.create_task(self._sample_until_leaving())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sampling is None:
            return
        self._leaving.set()
        (failure,) = await asyncio.gather(self._sampling, return_exceptions=True)
        if failure is not None and error is None:
            raise failure

    async def _sample_until_leaving(self) -> None:
        due_ns = self._clock.now_ns() + self._interval_ns
        while not self._leaving.is_set():
            with contextlib.suppress(TimeoutError):
                wait_s = max(0, due_ns - self._clock.now_ns()) / NS_PER_S
                await asyncio.wait_for(self._leaving.wait(), wait_s)
            await self._sample()
            due_ns = max(due_ns, self._clock.now_ns()) + self._interval_ns

    async def _sample(self) -> None:
        self._on_rows(await asyncio.get_running_loop().run_in_executor(self._threads, self._read))
