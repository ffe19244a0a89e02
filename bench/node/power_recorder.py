"""Sampling of energy sensors while a case runs, each at its pace."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from bench.core.clock import Clock
from bench.core.protocols import PowerSensor
from bench.core.records import PowerRow
from bench.node.sampler import Sampler


@runtime_checkable
class PacedSensor(PowerSensor, Protocol):
    """A sensor that knows nothing new more often than this, and may take as long to answer."""

    @property
    def interval_s(self) -> float: ...

    @property
    def lane(self) -> str:
        """What it waits for: sensors of one lane and one pace are read one after another."""


class PowerRecorder:
    """Samples sensors while it is entered: first before its body and last after it, so that the body is covered.

    Sensors with a pace of their own are sampled lane by lane, so that one that is slow to answer, or does not, holds up
    no other lane; the rest are read together every `interval_s`, and are the last to begin and the first to end. Rows
    carry the time just before their sensor was read, unless it knows better. What ends the sampling is told as
    `Sampler` does.
    """

    def __init__(
        self,
        sensors: Iterable[PowerSensor],
        clock: Clock,
        on_rows: Callable[[list[PowerRow]], None],
        interval_s: float = 0.1,
    ) -> None:
        lanes: dict[tuple[str, float], list[PowerSensor]] = {}
        others: list[PowerSensor] = []
        for sensor in sensors:
            if isinstance(sensor, PacedSensor):
                lanes.setdefault((sensor.lane, sensor.interval_s), []).append(sensor)
            else:
                others.append(sensor)
        read = [(together, pace_s) for (_, pace_s), together in lanes.items()]
        if others:
            read.append((others, interval_s))
        self._samplers = [Sampler(partial(_read, together, clock), clock, on_rows, pace_s) for together, pace_s in read]
        self._entered = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as entering:
            for sampler in self._samplers:
                await entering.enter_async_context(sampler)
            self._entered = entering.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._entered.__aexit__(kind, error, trace)


def _read(sensors: Sequence[PowerSensor], clock: Clock) -> list[PowerRow]:
    return [row for sensor in sensors for row in sensor.read(clock.now_ns())]
