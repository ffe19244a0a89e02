"""One timer for everything that may take too long."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Protocol

from bench.core.units import NS_PER_MS, NS_PER_S

_GRAIN_NS = 20 * NS_PER_MS


class Watched(Protocol):
    def look(self, now_ns: int) -> int | None:
        """When to look again, after doing what is to be done by now; None is never."""


class Deadlines:
    """Looks at each thing when it may be due, no more than one grain late.

    Whoever is watched says itself when to look again, so that what moves its deadline need not tell anyone.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._due: list[tuple[int, int, Watched]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0

    def watch(self, watched: Watched, due_ns: int) -> None:
        """Look at `watched` when `due_ns` has passed."""
        # Whole grains: what is due at nearly one time is looked at in one turn of the loop.
        due_ns = -(-due_ns // _GRAIN_NS) * _GRAIN_NS
        heapq.heappush(self._due, (due_ns, next(self._order), watched))
        self._arm()

    def close(self) -> None:
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        due_ns = self._due[0][0]
        if self._timer is not None:
            if self._timer_ns <= due_ns:
                return
            self._timer.cancel()
        self._timer_ns = due_ns
        left_s = max(0, due_ns - self._now_ns()) / NS_PER_S
        self._timer = asyncio.get_running_loop().call_later(left_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_ns = self._now_ns()
        while self._due and self._due[0][0] <= now_ns:
            _, _, watched = heapq.heappop(self._due)
            again_ns = watched.look(now_ns)
            if again_ns is not None:
                self.watch(watched, max(again_ns, now_ns + 1))
        if self._due:
            self._arm()
