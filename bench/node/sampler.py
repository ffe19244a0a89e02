"""Reads something again and again while a case runs, without holding up the loop that stamps its tokens."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from bench.core.clock import Clock
from bench.core.units import NS_PER_S, ns_from_seconds

Row = TypeVar("Row")

PATIENCE_S = 10.0
"""How long a run waits for a look, when it begins and when it ends: what takes longer leaves no joules anyway."""
_HANDED_OVER_NS = NS_PER_S // 2
"""How often at most: each time wakes the loop, which costs more than a look."""


class Sampler(Generic[Row]):
    """Reads rows while it is entered: first before its body and last after it, so that the body is covered.

    `read` runs in a thread of the sampler's own, because a driver may take milliseconds to answer, a server seconds,
    and the event loop stamps tokens meanwhile; `on_rows` is called on the event loop, so a table needs no lock, with
    all that was read in half a second. An exception of either ends the sampling and is raised on leaving, unless the
    body raised its own.

    A `read` that hangs holds up entering and leaving for `patience_s` each. It is then left behind in its thread, which
    no process waits for; `hangs` is true, and nothing of it reaches `on_rows` any more.
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
        self._began = asyncio.Event()
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._sample, args=(loop,), name="sampler", daemon=True).start()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    await self._began.wait()
            if self._failure is not None:
                raise self._failure
        except BaseException:
            self._end(None)
            raise
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
        try:
            async with asyncio.timeout_at(self._ends_s):
                await self._ended.wait()
        except TimeoutError:
            self.hangs = True
        finally:
            self._end(None)
        if self._failure is not None and error is None:
            raise self._failure

    def _sample(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs in the thread."""

        def tell(told: Callable[[Any], None], what: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed while a look hung
                loop.call_soon_threadsafe(told, what)

        failure = None
        try:
            tell(self._take, self._look())
            covered = False
            while not covered:
                rows, covered = self._looks()
                tell(self._take, rows)
        except BaseException as error:  # noqa: BLE001 it is raised on leaving
            failure = error
        tell(self._end, failure)

    def _take(self, rows: list[Row]) -> None:
        if self._ended.is_set():
            return
        try:
            self._on_rows(rows)
        except Exception as error:  # noqa: BLE001 it is raised on leaving
            self._end(error)
        self._began.set()

    def _end(self, failure: BaseException | None) -> None:
        """Nothing is taken any more."""
        self._failure = self._failure or failure
        self._leaving.set()
        self._began.set()
        self._ended.set()

    def _looks(self) -> tuple[list[Row], bool]:
        """All rows of the time until they are handed over, of one look at least; and whether the last followed the end
        of the body."""
        rows: list[Row] = []
        ends_ns = self._clock.now_ns() + _HANDED_OVER_NS
        while True:
            left = self._leaving.wait(max(0, self._due_ns - self._clock.now_ns()) / NS_PER_S)
            rows += self._look()
            if left or self._due_ns > ends_ns:
                return rows, left

    def _look(self) -> list[Row]:
        rows = self._read()
        self._due_ns += self._interval_ns
        now_ns = self._clock.now_ns()
        if self._due_ns < now_ns:  # what is slow to answer is left alone for as long as it may be
            self._due_ns = now_ns + self._interval_ns
        return rows
