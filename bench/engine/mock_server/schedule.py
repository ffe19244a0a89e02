"""One list of what is due when, for every answer of a server."""

from __future__ import annotations

import asyncio
import heapq
import time
from typing import Protocol

from bench.core.kernel_timer import KernelTimer
from bench.core.units import NS_PER_MS

_SLICE_NS = NS_PER_MS // 2
"""Longest time for what is due before what has arrived is read: a request's time begins when it is read."""


class Due(Protocol):
    def fall_due(self) -> None:
        """Called once the time it was added with has come."""


class Schedule:
    """Lets fall due what was added, in the order of its times."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer = KernelTimer(loop, self._run)
        self._heap: list[tuple[int, int, Due]] = []
        self._added = 0
        self._armed_ns: int | None = None

    def add(self, t_ns: int, due: Due) -> None:
        self._added += 1
        heapq.heappush(self._heap, (t_ns, self._added, due))
        if self._armed_ns is None or t_ns < self._armed_ns:
            self._arm(t_ns)

    def close(self) -> None:
        self._heap.clear()
        self._timer.close()

    def _run(self) -> None:
        heap = self._heap
        now_ns = time.monotonic_ns()
        until_ns = now_ns + _SLICE_NS
        # While it runs nothing needs to arm the timer: it is armed for what is first in the end.
        self._armed_ns = 0
        try:
            while heap and heap[0][0] <= now_ns < until_ns:
                heapq.heappop(heap)[2].fall_due()
                now_ns = time.monotonic_ns()
        finally:
            self._armed_ns = None
            if heap:
                self._arm(heap[0][0])

    def _arm(self, t_ns: int) -> None:
        self._armed_ns = t_ns
        self._timer.arm(t_ns)
