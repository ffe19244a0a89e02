"""Reads something again and again while a case runs, without holding up the loop that stamps its tokens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

from bench.core.clock import Clock
from bench.core.units import NS_PER_S, ns_from_seconds

Row = TypeVar("Row")

_HANDED_OVER_NS = NS_PER_S // 2
"""How often at most: each time wakes the loop, which costs more than a look."""


class Sampler(Generic[Row]):
    """Reads rows while it is entered: first before its body and last after it, so that the body is covered.

    `read` runs in a thread of the sampler's own, because a driver may take milliseconds to answer, a server seconds,
    and the event loop stamps tokens meanwhile; `on_rows` is called on the event loop, so a table needs no lock, with
    all that was read in half a second. An exception of either ends the sampling and is raised on leaving, unless the
    body raised its own.
    """

    def __init__(
        self, read: Callable[[], list[Row]], clock: Clock, on_rows: Callable[[list[Row]], None], interval_s: float
    ) -> None:
        self._read = read
        self._clock = clock
        self._on_rows = on_rows
        self._interval_ns = ns_from_seconds(interval_s)
        self._due_ns = 0
        self._leaving = threading.Event()
        self._covered = False
        """Whether something was read after the body had ended."""
        self._thread = ThreadPoolExecutor(1, "sampler")
        self._sampling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._on_rows(await self._in_thread(self._look))
        self._sampling = asyncio.create_task(self._sample_until_covered())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        if self._sampling is None:
            return
        (failure,) = await asyncio.gather(self._sampling, return_exceptions=True)
        self._thread.shutdown(wait=False)
        if failure is not None and error is None:
            raise failure

    async def _sample_until_covered(self) -> None:
        while not self._covered:
            self._on_rows(await self._in_thread(self._looks))

    async def _in_thread(self, read: Callable[[], list[Row]]) -> list[Row]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, read)

    def _looks(self) -> list[Row]:
        """All rows of the time until they are handed over, but of one look at least."""
        rows: list[Row] = []
        ends_ns = self._clock.now_ns() + _HANDED_OVER_NS
        while not self._covered:
            left = self._leaving.wait(max(0, self._due_ns - self._clock.now_ns()) / NS_PER_S)
            rows += self._look()
            self._covered = left
            if self._due_ns > ends_ns:
                break
        return rows

    def _look(self) -> list[Row]:
        rows = self._read()
        self._due_ns += self._interval_ns
        now_ns = self._clock.now_ns()
        if self._due_ns < now_ns:  # what is slow to answer is left alone for as long as it may be
            self._due_ns = now_ns + self._interval_ns
        return rows
