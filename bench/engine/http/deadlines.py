"""One timer for everything that may take too long."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Protocol

from bench.core.units import NS_PER_MS, NS_PER_S

_GRAIN_NS = 20 * NS_PER_MS


class Watched(Protocol):
    def look(self, now_ns: int) -> int | None:
        """Do what is to be done by now. Returns when to look again, or None for never."""


class Deadlines:
    """Looks at each thing when it may be late, no more than one grain after that.

    What is watched says itself when to look again, so nothing is told here while its deadline only moves on.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._watched: dict[int, set[Watched]] = {}
        """By the grain of time at whose end they are looked at."""
        self._grains: list[int] = []
        """A heap of the keys."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_grain = 0

    def watch(self, watched: Watched, due_ns: int) -> None:
        """Look at `watched` once `due_ns` has passed."""
        grain = _grain(due_ns)
        if grain not in self._watched:
            self._watched[grain] = set()
            heapq.heappush(self._grains, grain)
            self._arm()
        self._watched[grain].add(watched)

    def forget(self, watched: Watched, due_ns: int) -> None:
        """Do not look at what was to be looked at once `due_ns` has passed."""
        self._watched.get(_grain(due_ns), set()).discard(watched)

    def close(self) -> None:
        self._watched.clear()
        self._grains.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        grain = self._grains[0]
        if self._timer is not None:
            if self._timer_grain <= grain:
                return
            self._timer.cancel()
        self._timer_grain = grain
        left_s = max(0, grain * _GRAIN_NS - self._now_ns()) / NS_PER_S
        self._timer = asyncio.get_running_loop().call_later(left_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_ns = self._now_ns()
        while self._grains and self._grains[0] * _GRAIN_NS <= now_ns:
            for watched in self._watched.pop(heapq.heappop(self._grains)):
                again_ns = watched.look(now_ns)
                if again_ns is not None:
                    self.watch(watched, max(again_ns, now_ns + 1))
        if self._grains:
            self._arm()


def _grain(due_ns: int) -> int:
    return -(-due_ns // _GRAIN_NS)
