"""Which energy sensors this machine has, and the recorder that samples them while a case runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import pynvml

from bench.core.clock import Clock
from bench.core.power_spec import DeclaredPower
from bench.core.protocols import PowerSensor
from bench.core.records import PowerRow
from bench.core.units import NS_PER_S, ns_from_seconds
from bench.node.facts import AbsentError
from bench.node.nvml import Nvml
from bench.node.nvml_power import NVML_SCOPES, open_meters
from bench.node.rapl import package_sensors
from bench.node.sensor_faults import TellsFaults

_SCOPES_WITHOUT_A_READER = ("node", "rack", "facility")


class DeviceSensor(PowerSensor, Protocol):
    """A sensor that can say what it reads and what went wrong."""

    @property
    def device(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def problem(self) -> str | None: ...


@dataclass(frozen=True)
class Sensors:
    """Every sensor that can be read, and for each scope without one, why."""

    sensors: tuple[DeviceSensor, ...]
    missing: dict[str, str]
    remark: str | None = None
    """What whoever reads the energy must know of its scope, for the record."""
    nvml: Nvml | None = None

    @property
    def sources(self) -> dict[str, str]:
        """By device: what is read."""
        return {sensor.device: sensor.source for sensor in self.sensors}

    @property
    def problems(self) -> dict[str, str]:
        """By device: the last reading that failed, for the record."""
        return {sensor.device: sensor.problem for sensor in self.sensors if sensor.problem is not None}

    @property
    def faults(self) -> dict[str, list[dict[str, Any]]]:
        """By device: every kind of fault its sensor had, typed, since when and in how many readings."""
        told = {sensor.device: sensor.faults.as_list() for sensor in self.sensors if isinstance(sensor, TellsFaults)}
        return {device: faults for device, faults in told.items() if faults}

    @property
    def unread(self) -> str | None:
        """Why a scope that has a reader could not be read; None where all could."""
        reasons = (why for scope, why in self.missing.items() if scope not in _SCOPES_WITHOUT_A_READER)
        return "; ".join(dict.fromkeys(reasons)) or None

    def describe(self) -> dict[str, Any]:
        """What is read, what is not and why, and what went wrong; ready for JSON."""
        return {
            "sensors": self.sources,
            "missing": self.missing,
            "problems": self.problems,
            "faults": self.faults,
            "remark": self.remark,
        }

    def close(self) -> None:
        if self.nvml is not None:
            self.nvml.close()


def open_sensors(
    declared: DeclaredPower | None = None,
    *,
    accelerator_ids: Sequence[str] | None = None,
    root: Path = Path("/"),
    api: Any = pynvml,
) -> Sensors:
    """Open what can be read. A scope is whole or missing: one unreadable GPU of eight makes `gpu` missing.

    `accelerator_ids` are the pseudonyms, as in the fingerprint, of the GPUs an engine uses; no other GPU is read. None
    is for an engine that cannot say: every GPU is read, and `remark` tells it. Declared watts are never sampled: they
    are an assumption, kept in the case, and only explain the missing scope here.
    """
    found: list[DeviceSensor] = []
    missing = dict.fromkeys(_SCOPES_WITHOUT_A_READER, "no sensor of this scope is read")
    nvml = remark = None
    try:
        nvml = Nvml(api)
        meters = open_meters(nvml, accelerator_ids)
        found += meters.sensors
        missing |= meters.missing
        remark = meters.remark
    except AbsentError as absent:
        missing |= dict.fromkeys(NVML_SCOPES, str(absent))
    try:
        found += package_sensors(root)
    except AbsentError as absent:
        missing["cpu"] = str(absent)
    if declared is not None and declared.scope in missing:
        missing[declared.scope] += f"; {declared.watts:g} W is declared for it, which is assumed and not measured"
    return Sensors(tuple(found), missing, remark, nvml)


class PowerRecorder:
    """Samples sensors while it is entered: first before its body and last after it, so that the body is covered.

    Sensors are read in a worker thread, because a driver may take milliseconds to answer and the event loop stamps
    tokens meanwhile; `on_rows` is called on the event loop, so a table needs no lock. A sensor's rows carry the time
    just before it was read. An exception of `on_rows` ends the sampling and is raised on leaving, unless the body
    raised its own.
    """

    def __init__(
        self,
        sensors: Sequence[PowerSensor],
        clock: Clock,
        on_rows: Callable[[list[PowerRow]], None],
        interval_s: float = 0.1,
    ) -> None:
        self._sensors = sensors
        self._clock = clock
        self._on_rows = on_rows
        self._interval_ns = ns_from_seconds(interval_s)
        self._leaving = asyncio.Event()
        self._sampling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._sensors:
            await self._sample()
            self._sampling = asyncio.create_task(self._sample_until_leaving())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sampling is None:
            return
        self._leaving.set()
        (failure,) = await asyncio.gather(self._sampling, return_exceptions=True)
        if failure is not None and error is None:
            raise failure

    async def _sample_until_leaving(self) -> None:
        due_ns = self._clock.now_ns() + self._interval_ns
        while not self._leaving.is_set():
            with contextlib.suppress(TimeoutError):
                wait_s = max(0, due_ns - self._clock.now_ns()) / NS_PER_S
                await asyncio.wait_for(self._leaving.wait(), wait_s)
            await self._sample()
            due_ns = max(due_ns, self._clock.now_ns()) + self._interval_ns

    async def _sample(self) -> None:
        self._on_rows(await asyncio.to_thread(self._read))

    def _read(self) -> list[PowerRow]:
        return [row for sensor in self._sensors for row in sensor.read(self._clock.now_ns())]
