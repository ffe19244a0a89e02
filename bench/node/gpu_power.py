"""Energy and power of one NVIDIA GPU: the chip with its memory, not the module it may share with a CPU.

The energy counter runs from the driver's start (Volta and newer). Power comes from the most direct source the driver
answers: the instant field, its average, or the older call, which averages a second from Ampere on (NVML API reference).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pynvml

from bench.core.records import PowerRow
from bench.node.facts import AbsentError
from bench.node.nvml import Device


@dataclass(frozen=True, slots=True)
class Source:
    """One way to ask a device, in thousandths of the unit."""

    name: str
    read: Callable[[Device], float]


_ENERGY = (Source("energy counter", lambda device: float(device.ask("nvmlDeviceGetTotalEnergyConsumption"))),)
_POWER = (
    Source(
        "instant power (NVML field 186, GPU scope)",
        lambda device: device.field(pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_POWER_SCOPE_GPU),
    ),
    Source(
        "average power (NVML field 185, GPU scope)",
        lambda device: device.field(pynvml.NVML_FI_DEV_POWER_AVERAGE, pynvml.NVML_POWER_SCOPE_GPU),
    ),
    Source("power usage", lambda device: float(device.ask("nvmlDeviceGetPowerUsage"))),
)


class GpuSensor:
    """Reads one GPU. What fails in a reading is None in its row, and `problem` says why."""

    scope = "gpu"

    def __init__(self, device: Device) -> None:
        """Raises AbsentError when the device tells neither energy nor power."""
        self.device = device.name
        self.problem: str | None = None
        self._gpu = device
        self._energy = _first_that_answers(device, _ENERGY)
        self._power = _first_that_answers(device, _POWER)
        self._last_joules = 0.0
        answering = [source.name for source in (self._energy, self._power) if isinstance(source, Source)]
        if not answering:
            raise AbsentError(f"{device.name}: {self._energy}; {self._power}")
        self.source = "; ".join(answering)

    def read(self, t_ns: int) -> list[PowerRow]:
        return [PowerRow(t_ns, self.scope, self.device, watts=self._ask(self._power), joules_counter=self._joules())]

    def _joules(self) -> float | None:
        joules = self._ask(self._energy)
        if joules is None:
            return None
        if joules < self._last_joules:
            # What was used before the reset is lost, so no later difference can be trusted either.
            self.problem = "the energy counter went back, as after a reload of the driver"
            self._energy = AbsentError(self.problem)
            return None
        self._last_joules = joules
        return joules

    def _ask(self, source: Source | AbsentError) -> float | None:
        if isinstance(source, AbsentError):
            return None
        try:
            return source.read(self._gpu) / 1000
        except AbsentError as absent:
            self.problem = str(absent)
            return None


def _first_that_answers(device: Device, sources: tuple[Source, ...]) -> Source | AbsentError:
    """The first source the device answers now, or why the last one does not."""
    failure = AbsentError("nothing to ask")
    for source in sources:
        try:
            source.read(device)
        except AbsentError as absent:
            failure = absent
        else:
            return source
    return failure
