"""Reads something again and again while a case runs, without holding up the loop that stamps its tokens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from bench.core.clock import Clock
from bench.core.daemon_thread import in_daemon_thread
from bench.core.units import NS_PER_S, ns_from_seconds

Row = TypeVar("Row")

PATIENCE_S = 10.0
"""How long a run waits for a look, when it begins and when it ends: what takes longer leaves no joules anyway."""
_HANDED_OVER_NS = NS_PER_S // 2
"""How often at most: each time wakes the loop, which costs more than a look."""


class Sampler(Generic[Row]):
    """Reads rows while it is entered: first before its body and last after it, so that the body is covered.

    `read` runs in a thread, because a driver may take milliseconds to answer, a server seconds, and the event loop
    stamps tokens meanwhile; `on_rows` is called on the event loop, so a table needs no lock, with all that was read in
    half a second. An exception of either ends the sampling and is raised on leaving, unless the body raised its own.

    A `read` that hangs holds up entering and leaving for `patience_s` each. It is then left behind with its thread,
    `hangs` is true, and nothing of it reaches `on_rows` any more.
    """

    def __init__(
        self,
        read: Callable[[], list[Row]],
        clock: Clock,
        on_rows: Callable[[list[Row]], None],
        interval_s: float,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.hangs = False
        self._read = read
        self._clock = clock
        self._on_rows = on_rows
        self._interval_ns = ns_from_seconds(interval_s)
        self._patience_s = patience_s
        self._due_ns = 0
        self._leaving = threading.Event()
        self._ends_s: float | None = None
        """When the loop's patience is over, once it is leaving."""
        self._covered = False
        """Whether something was read after the body had ended."""
        self._sampling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        began = asyncio.Event()
        self._sampling = asyncio.create_task(self._sample_until_covered(began))
        beginning = asyncio.create_task(began.wait())
        try:
            await asyncio.wait(
                [self._sampling, beginning], timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED
            )
            if self._sampling.done():
                self._sampling.result()
        except BaseException:
            self._leaving.set()
            self._sampling.cancel()
            raise
        finally:
            beginning.cancel()
        return self

    def leave(self) -> None:
        """Begin to end: several samplers that are told so at once end, or are left behind, at once."""
        if self._ends_s is None:
            self._ends_s = asyncio.get_running_loop().time() + self._patience_s
            self._leaving.set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        if self._sampling is None or self._ends_s is None:
            return
        try:
            await asyncio.wait([self._sampling], timeout=max(0.0, self._ends_s - asyncio.get_running_loop().time()))
            self.hangs = not self._sampling.done()
        finally:
            self._sampling.cancel()
        (failure,) = await asyncio.gather(self._sampling, return_exceptions=True)
        if isinstance(failure, Exception) and error is None:
            raise failure

    async def _sample_until_covered(self, began: asyncio.Event) -> None:
        self._on_rows(await in_daemon_thread(self._look))
        began.set()
        while not self._covered:
            self._on_rows(await in_daemon_thread(self._looks))

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
