"""Which energy sensors this machine has: for every scope the first of its meters that answers, or why none does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pynvml

from bench.core.power_spec import DcgmSpec, PowerSpec, RedfishSpec
from bench.node.dcgm import DcgmSensor, dcgm_access
from bench.node.facts import AbsentError
from bench.node.hwmon import meter_sensors
from bench.node.nvml import Nvml, RefusedError
from bench.node.nvml_power import NVML_SCOPES, open_meters
from bench.node.power_recorder import DeviceSensor
from bench.node.rapl import memory_sensors, package_sensors, platform_sensors
from bench.node.redfish import WHERE, RedfishSensor, redfish_access

SCOPES = (*NVML_SCOPES, "cpu", "dram", "psys", "node", "rack", "facility")


class OpenSensor(DeviceSensor, Protocol):
    """A sensor that holds a file or a connection."""

    def close(self) -> None: ...


Way = Callable[[], Sequence[OpenSensor]]
"""Opens the sensors of a scope, all of them: part of a scope is not the scope. Raises AbsentError."""


@dataclass(frozen=True)
class Sensors:
    """Every sensor that can be read, and for each scope without one, why. To be closed."""

    sensors: tuple[DeviceSensor, ...]
    missing: dict[str, str]
    remark: str | None = None
    """What whoever reads the energy must know of its scope, for the record."""
    unread: str | None = None
    """Why no GPU, no processor or no meter that was asked for could be read; None where all could."""
    opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def sources(self) -> dict[str, str]:
        """By device: what is read."""
        return {sensor.device: sensor.source for sensor in self.sensors}

    @property
    def problems(self) -> dict[str, str]:
        """By device: the last reading that failed, for the record."""
        return {sensor.device: sensor.faults.last for sensor in self.sensors if sensor.faults.last is not None}

    @property
    def faults(self) -> dict[str, list[dict[str, Any]]]:
        """By device: every kind of fault its sensor had, typed, since when and in how many readings."""
        told = {sensor.device: sensor.faults.as_list() for sensor in self.sensors}
        return {device: faults for device, faults in told.items() if faults}

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
        self.opened.close()


def no_sensors(reason: str) -> Sensors:
    """What is there where nothing can be opened."""
    return Sensors((), dict.fromkeys(SCOPES, reason), unread=reason)


def open_sensors(
    power: PowerSpec | None = None,
    *,
    accelerator_ids: Sequence[str] | None = None,
    root: Path = Path("/"),
    api: Any = pynvml,
) -> Sensors:
    """Open what can be read. A scope is whole or missing: one unreadable GPU of eight makes `gpu` missing.

    `accelerator_ids` are the pseudonyms, as in the fingerprint, of the GPUs an engine uses; no other GPU is read. None
    is for an engine that cannot say: every GPU is read, and `remark` tells it. Declared watts are never sampled: they
    are an assumption, kept in the case, and only explain the missing scope here. A meter on the network that `power`
    names is asked now and may take its time. Raises InputError as `refuse_unaskable_meters` does.
    """
    power = PowerSpec() if power is None else power
    opening = _Opening()
    try:
        opening.open_gpus(power.dcgm, accelerator_ids, root, api)
        opening.open_machine(power.redfish, root)
    except BaseException:
        opening.opened.close()
        raise
    if power.declared is not None and power.declared.scope in opening.missing:
        watts = power.declared.watts
        opening.missing[power.declared.scope] += f"; {watts:g} W is declared for it, which is assumed and not measured"
    return opening.done()


def refuse_unaskable_meters(power: PowerSpec) -> None:
    """Raises InputError for a meter on the network that cannot be asked: its address, its login, its certificates."""
    for number, spec in enumerate(power.redfish):
        redfish_access(spec, _where(number, power.redfish))
    if power.dcgm is not None:
        dcgm_access(power.dcgm)


def _where(number: int, controllers: Sequence[RedfishSpec]) -> str:
    return WHERE if len(controllers) == 1 else f"{WHERE}.{number}"


def _without_nvml(absent: AbsentError) -> str:
    if isinstance(absent, RefusedError) and absent.code == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return f"{absent} (the machine has no NVIDIA driver, or a container is not shown it)"
    return str(absent)


class _Opening:
    """What was found so far."""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}
        self.opened = contextlib.ExitStack()
        self._found: list[DeviceSensor] = []
        self._remarks: list[str] = []
        self._asked_for = {"gpu", "cpu"}
        """Scopes that a user expects to be read."""

    def open_gpus(self, dcgm: DcgmSpec | None, accelerator_ids: Sequence[str] | None, root: Path, api: Any) -> None:
        """By NVML; what it does not tell by DCGM, where that is named, and by the modules' own meters."""
        try:
            nvml = Nvml(api)
            self.opened.callback(nvml.close)
            meters = open_meters(nvml, accelerator_ids)
        except AbsentError as absent:
            self.missing |= dict.fromkeys(NVML_SCOPES, _without_nvml(absent))
        else:
            self._found += meters.sensors
            self.missing |= meters.missing
            self._remark(meters.remark)
        if dcgm is not None and "gpu" not in self.missing:
            self._remark("power.dcgm is not asked: NVML tells the power of the GPUs")
        elif dcgm is not None:
            self._open("gpu", partial(self._dcgm, dcgm, accelerator_ids))
        if "module" in self.missing and self._open("module", partial(meter_sensors, "module", root)):
            self._remark("modules are read by the machine's own meters: all of them, used or not")

    def open_machine(self, redfish: Sequence[RedfishSpec], root: Path) -> None:
        """Processors, their memory, and what contains them; controllers that are named go before other meters."""
        self._open("cpu", partial(package_sensors, root), partial(meter_sensors, "cpu", root))
        self._open("dram", partial(memory_sensors, root))
        self._open("psys", partial(platform_sensors, root))
        self._asked_for.update(spec.scope for spec in redfish)
        self._open("node", partial(self._redfish, redfish, "node"), partial(meter_sensors, "node", root))
        self._open("rack", partial(self._redfish, redfish, "rack"))
        self.missing["facility"] = "nothing that is read here measures it: a suite's power.pue models it"

    def done(self) -> Sensors:
        unread = [why for scope, why in self.missing.items() if scope in self._asked_for]
        remark = "; ".join(self._remarks) or None
        return Sensors(tuple(self._found), self.missing, remark, "; ".join(dict.fromkeys(unread)) or None, self.opened)

    def _open(self, scope: str, *ways: Way) -> bool:
        """Whether one of `ways` opened the scope: the first that can, for two meters of one scope are not added."""
        reasons = [self.missing.pop(scope)] if scope in self.missing else []
        for way in ways:
            try:
                sensors = way()
            except AbsentError as absent:
                reasons.append(str(absent))
                continue
            self._found += sensors
            for sensor in sensors:
                self.opened.callback(sensor.close)
            return True
        if reasons:
            self.missing[scope] = "; ".join(reasons)
        return False

    def _dcgm(self, spec: DcgmSpec, accelerator_ids: Sequence[str] | None) -> Sequence[OpenSensor]:
        if accelerator_ids is not None and not accelerator_ids:
            raise AbsentError("power.dcgm is not asked: the engine uses no GPU")
        try:
            sensor = DcgmSensor(spec, accelerator_ids)
        except AbsentError as absent:
            raise AbsentError(f"power.dcgm: {absent}") from None
        self._remark("energy of GPUs is that of their boards as DCGM reports it")
        if accelerator_ids is None:
            self._remark("every GPU that DCGM tells of is read: which of them are used is not known")
        return [sensor]

    def _redfish(self, controllers: Sequence[RedfishSpec], scope: str) -> Sequence[OpenSensor]:
        named = [(number, spec) for number, spec in enumerate(controllers) if spec.scope == scope]
        if not named:
            raise AbsentError(f"no controller (BMC) of the {scope} is named in a suite's power.redfish")
        with contextlib.ExitStack() as opened:
            sensors = []
            for number, spec in named:
                try:
                    sensors.append(RedfishSensor(spec, number))
                except AbsentError as absent:
                    self._remark(f"{_where(number, controllers)} is not read as {scope}: {absent}")
                    raise AbsentError(f"{_where(number, controllers)}: {absent}") from None
                opened.callback(sensors[-1].close)
            opened.pop_all()
        return sensors

    def _remark(self, text: str | None) -> None:
        if text is not None:
            self._remarks.append(text)
