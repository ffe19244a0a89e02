"""Waiting until a turn is due, as exactly as its clock allows."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import Protocol

from bench.core.clock import Clock, RealClock, sleep_until
from bench.core.kernel_timer import KernelTimer


class Alarm(Protocol):
    """Wakes any number of tasks, each at its own time."""

    async def until(self, t_ns: int) -> None:
        """Return at `t_ns`, or at once if that has passed."""

    def close(self) -> None:
        """Wake nobody any more. Safe to call twice."""


def set_alarm(clock: Clock) -> Alarm:
    """The alarm for `clock` on the running loop: exact on virtual time, the kernel's timer on the machine's."""
    return _KernelAlarm(clock) if isinstance(clock, RealClock) else _LoopAlarm(clock)


class _LoopAlarm:
    """The loop's own timers: right where they wait for nothing real."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def until(self, t_ns: int) -> None:
        await sleep_until(self._clock, t_ns)

    def close(self) -> None:
        """Nothing is held."""


class _KernelAlarm:
    """One timer of the kernel for all that wait: the loops' own are up to a millisecond late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer = KernelTimer(self._loop, self._ring)
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    async def until(self, t_ns: int) -> None:
        if self._clock.now_ns() >= t_ns:
            return
        rung = self._loop.create_future()
        heapq.heappush(self._waiting, (t_ns, next(self._order), rung))
        if self._waiting[0][2] is rung:
            self._timer.arm(t_ns)
        await rung

    def close(self) -> None:
        self._timer.close()

    def _ring(self) -> None:
        now_ns = self._clock.now_ns()
        while self._waiting and self._waiting[0][0] <= now_ns:
            _, _, rung = heapq.heappop(self._waiting)
            if not rung.done():  # who waited for it may have been cancelled
                rung.set_result(None)
        if self._waiting:
            self._timer.arm(self._waiting[0][0])
