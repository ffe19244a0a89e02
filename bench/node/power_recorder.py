"""Sampling of energy sensors while a case runs, each at its pace."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from bench.core.clock import Clock
from bench.core.protocols import PowerSensor
from bench.core.records import PowerRow
from bench.node.sampler import PATIENCE_S, Sampler
from bench.node.sensor_faults import SensorFaults


@runtime_checkable
class PacedSensor(PowerSensor, Protocol):
    """A sensor that knows nothing new more often than this, and may take as long to answer."""

    @property
    def interval_s(self) -> float: ...

    @property
    def lane(self) -> str:
        """What it waits for: sensors of one lane and one pace are read one after another."""


class DeviceSensor(PowerSensor, Protocol):
    """A sensor that can say what it reads and what went wrong."""

    @property
    def device(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def faults(self) -> SensorFaults: ...


class PowerRecorder:
    """Samples sensors while it is entered: first before its body and last after it, so that the body is covered.

    Sensors with a pace of their own are sampled lane by lane, so that one that is slow to answer, or does not, holds up
    no other lane; the rest are read together every `interval_s`, and are the last to begin and the first to end. Rows
    carry the time just before their sensor was read, unless it knows better. What ends the sampling is told as
    `Sampler` does, and so is how long it waits for a sensor that hangs, which is a fault of that sensor.
    """

    def __init__(
        self,
        sensors: Iterable[DeviceSensor],
        clock: Clock,
        on_rows: Callable[[list[PowerRow]], None],
        interval_s: float = 0.1,
        patience_s: float = PATIENCE_S,
    ) -> None:
        lanes: dict[tuple[str, float], list[DeviceSensor]] = {}
        others: list[DeviceSensor] = []
        for sensor in sensors:
            if isinstance(sensor, PacedSensor):
                lanes.setdefault((sensor.lane, sensor.interval_s), []).append(sensor)
            else:
                others.append(sensor)
        self._paced = [_Lane(lane, clock, on_rows, pace_s, patience_s) for (_, pace_s), lane in lanes.items()]
        self._others = [_Lane(others, clock, on_rows, interval_s, patience_s)] if others else []
        self._entered = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as entering:
            for lane in self._paced:
                await entering.enter_async_context(lane)
            entering.callback(self._leave_paced)
            for lane in self._others:
                await entering.enter_async_context(lane)
            self._entered = entering.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._entered.__aexit__(kind, error, trace)

    def _leave_paced(self) -> None:
        for lane in self._paced:
            lane.leave()


class _Lane(Sampler[PowerRow]):
    """Sensors that are read one after another."""

    def __init__(
        self,
        sensors: Sequence[DeviceSensor],
        clock: Clock,
        on_rows: Callable[[list[PowerRow]], None],
        interval_s: float,
        patience_s: float,
    ) -> None:
        super().__init__(self._read_all, clock, on_rows, interval_s, patience_s)
        self._sensors = sensors
        self._asked = sensors[0]
        """The sensor that is read, or was last."""

    def _read_all(self) -> list[PowerRow]:
        rows: list[PowerRow] = []
        for sensor in self._sensors:
            self._asked = sensor
            rows += sensor.read(self._clock.now_ns())
        return rows

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if self.hangs:
            why = f"it hangs: {self._patience_s:g} s after the end it had not answered"
            self._asked.faults.add("timeout", why, self._clock.now_ns())
