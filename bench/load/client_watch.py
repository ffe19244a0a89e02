"""How busy the client is while it measures: a client that is the bottleneck measures itself."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np

from bench.core.clock import Clock
from bench.core.records import ClientLoad
from bench.core.units import NS_PER_MS
from bench.load.alarm import Alarm, set_alarm

_EVERY_NS = 10 * NS_PER_MS


class ClientWatch:
    """While it is entered, sees every 10 ms how late the event loop is, and how much CPU time the process uses.

    A loop that is held up for longer is late for each of the times it misses, by what is then left of the delay.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lag_ns = array("q")
        self._alarm: Alarm
        self._watching: asyncio.Task[None]
        self._began_ns = self._ended_ns = 0
        self._cpu_ns = 0

    async def __aenter__(self) -> Self:
        self._alarm = set_alarm(self._clock)
        self._began_ns = self._clock.now_ns()
        self._cpu_ns = -time.process_time_ns()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cpu_ns += time.process_time_ns()
        self._ended_ns = self._clock.now_ns()
        self._watching.cancel()
        self._alarm.close()
        await asyncio.wait({self._watching})

    @property
    def load(self) -> ClientLoad | None:
        """Of the time it was entered; None where that is not over, or was too short to see anything."""
        if not self._lag_ns or self._ended_ns <= self._began_ns:
            return None
        lag_ms = np.array(self._lag_ns) / NS_PER_MS
        p50, p99 = np.quantile(lag_ms, (0.5, 0.99)).tolist()
        share = self._cpu_ns / (self._ended_ns - self._began_ns)
        return ClientLoad(1, share, lag_p50_ms=p50, lag_p99_ms=p99, lag_max_ms=float(lag_ms.max()))

    async def _watch(self) -> None:
        due_ns = self._began_ns
        while True:
            due_ns += _EVERY_NS
            await self._alarm.until(due_ns)
            self._lag_ns.append(self._clock.now_ns() - due_ns)


def busiest(loads: Sequence[ClientLoad]) -> ClientLoad | None:
    """Of several processes the worst of each figure; None of none."""
    if not loads:
        return None
    return ClientLoad(
        processes=len(loads),
        cpu_share=max(load.cpu_share for load in loads),
        lag_p50_ms=max(load.lag_p50_ms for load in loads),
        lag_p99_ms=max(load.lag_p99_ms for load in loads),
        lag_max_ms=max(load.lag_max_ms for load in loads),
    )
