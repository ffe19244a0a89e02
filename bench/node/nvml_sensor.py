"""NVIDIA's power meters: by which of its figures a device tells one scope, and the sensor that reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.core.records import PowerRow
from bench.node.facts import AbsentError
from bench.node.nvml import Device
from bench.node.sensor_faults import SensorFaults
from bench.node.stillness import Movement

MILLI = 1000
"""NVML tells milliwatts and millijoules."""

Field = tuple[int, int]
"""NVML's number of a field value, and that of its scope."""

_SAME_COUNTER = 1e-3
"""Two counters of different scopes that run since the driver was loaded are further apart."""


class ZeroError(AbsentError):
    """A meter says that nothing is drawn, which is what some drivers say in place of a refusal."""


@dataclass(frozen=True, slots=True)
class Source:
    """One way to ask a device, in thousandths of the unit: a field value, or a function of its own."""

    name: str
    field: Field | None = None
    function: str = ""
    """Asked where there is no field."""
    unlike: Field | None = None
    """A counter of another scope, which a driver may tell in place of this one."""

    def ask(self, device: Device) -> float:
        """Raises AbsentError where the device does not tell it."""
        told = self.checked(device.field(*self.field) if self.field else float(device.ask(self.function)))
        if self.unlike is not None and _is_near(device, self.unlike, told):
            raise AbsentError(f"{self.name} tells what NVML field {self.unlike[0]}, scope {self.unlike[1]} does")
        return told

    def checked(self, told: float) -> float:
        """Raises ZeroError for a zero: what is missing is never zero."""
        if told <= 0:
            raise ZeroError(f"{self.name} tells {told:g}, which nothing that runs draws")
        return told


def field_source(what: str, field: int, scope: tuple[str, int], unlike: Field | None = None) -> Source:
    """`what` as NVML's field value `field` in a scope: its name here, and NVML's number of it."""
    name, number = scope
    return Source(f"{what} (NVML field {field}, {name} scope)", field=(field, number), unlike=unlike)


def _is_near(device: Device, field: Field, value: float) -> bool:
    try:
        return math.isclose(device.field(*field), value, rel_tol=_SAME_COUNTER)
    except AbsentError:
        return False


def first_that_answers(device: Device, sources: Sequence[Source]) -> Source | AbsentError:
    """The first source the device answers now, or why the last one does not."""
    failure = AbsentError("nothing to ask")
    for source in sources:
        try:
            source.ask(device)
        except AbsentError as absent:
            failure = absent
        else:
            return source
    return failure


@dataclass(frozen=True, slots=True)
class Meter:
    """One scope of one device, and by what it is told."""

    scope: str
    name: str
    """What the tables call that which is metered."""
    device: Device
    """The GPU that is asked."""
    energy: Source | AbsentError
    power: Source | AbsentError
    remark: str | None = None
    """What whoever reads its figures must know of them."""

    @property
    def fields(self) -> list[Field]:
        return [one.field for one in (self.energy, self.power) if isinstance(one, Source) and one.field is not None]

    @property
    def source(self) -> str:
        """What is read, why the rest is not, and the remark."""
        parts = [
            one.name if isinstance(one, Source) else f"no {what}: {one}"
            for what, one in (("energy counter", self.energy), ("power", self.power))
        ]
        return "; ".join(parts if self.remark is None else [*parts, self.remark])


def open_meter(
    scope: str,
    name: str,
    device: Device,
    *,
    energy: Sequence[Source],
    power: Sequence[Source],
    remark: str | None = None,
) -> Meter:
    """The first of `energy` and of `power` that answers. Raises AbsentError where none of both does."""
    counter, watts = first_that_answers(device, energy), first_that_answers(device, power)
    if isinstance(counter, AbsentError) and isinstance(watts, AbsentError):
        raise AbsentError(f"{name}: {counter}; {watts}")
    return Meter(scope, name, device, counter, watts, remark)


class FieldBatch:
    """Field values of one device that several sensors read, in one call to the driver.

    Each answer is given out once, and asking for it again asks the driver again, for all of them: whoever reads every
    sensor of a device in turn makes one call a round, and no answer is older than its round.
    """

    def __init__(self, device: Device, fields: Iterable[Field]) -> None:
        self._device = device
        self._fields = list(dict.fromkeys(fields))
        self._answers: dict[Field, float | AbsentError] = {}

    def take(self, field: Field) -> float:
        """Raises AbsentError where the device does not tell it now."""
        if field not in self._answers:
            self._answers = dict(zip(self._fields, self._ask(), strict=True))
        answer = self._answers.pop(field)
        if isinstance(answer, AbsentError):
            raise answer
        return answer

    def _ask(self) -> Sequence[float | AbsentError]:
        try:
            return self._device.fields(self._fields)
        except AbsentError as absent:
            return [absent] * len(self._fields)


class NvmlSensor:
    """Reads one meter.

    A row holds what the meter told, also where that cannot be right; `faults` says what was wrong with it, and whoever
    makes energy of the rows refuses it by the rows alone.
    """

    def __init__(self, meter: Meter, batch: FieldBatch, movement: Movement) -> None:
        """`batch` has the fields of the meter; `movement` is that of all sensors it is held against."""
        self.scope = meter.scope
        self.device = meter.name
        self.source = meter.source
        self.faults = SensorFaults()
        self._asked = meter.device
        self._energy = meter.energy
        self._power = meter.power
        self._batch = batch
        self._movement = movement
        self._last_joules = 0.0

    def read(self, t_ns: int) -> list[PowerRow]:
        joules = self._reading("energy counter", self._energy, t_ns)
        watts = self._reading("power", self._power, t_ns)
        if joules is not None:
            if joules < self._last_joules:
                back = self._last_joules - joules
                why = f"the energy counter went back by {back:.6g} J, as after a reload of the driver"
                self.faults.add("counter_went_back", why, t_ns)
            self._last_joules = joules
        return [PowerRow(t_ns, self.scope, self.device, watts=watts, joules_counter=joules)]

    def _reading(self, quantity: str, source: Source | AbsentError, t_ns: int) -> float | None:
        if isinstance(source, AbsentError):
            return None
        try:
            value = self._ask(source) / MILLI
        except AbsentError as absent:
            self.faults.add_absent(absent, t_ns)
            return None
        if self._movement.is_frozen((self.device, quantity), t_ns, value):
            self.faults.add("frozen", f"the {quantity} stands still while other readings move", t_ns)
        return value

    def _ask(self, source: Source) -> float:
        return source.ask(self._asked) if source.field is None else source.checked(self._batch.take(source.field))


def sensors_of(meters: Iterable[Meter]) -> list[NvmlSensor]:
    """A sensor a meter, those of one GPU one after another and read in one call."""
    ordered = sorted(meters, key=lambda meter: meter.device.index)
    fields: dict[int, list[Field]] = {}
    for meter in ordered:
        fields.setdefault(meter.device.index, []).extend(meter.fields)
    batches = {meter.device.index: FieldBatch(meter.device, fields[meter.device.index]) for meter in ordered}
    movement = Movement()
    return [NvmlSensor(meter, batches[meter.device.index], movement) for meter in ordered]
