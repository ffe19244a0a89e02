"""Where a management controller tells the power of its chassis: which values of which resources make it up.

Source: DMTF DSP0268, the Redfish Schema Supplement: EnvironmentMetrics (PowerWatts, EnergyJoules, EnergykWh), the
older Power (PowerControl, PowerSupplies), Sensor, PowerSubsystem with its power supplies' metrics. A controller has one
or some of them. What it draws from outside is preferred in this order: told for the chassis as a whole, then as the sum
of its power supplies' inputs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.node.http_reader import MeterError

Document = dict[str, Any]
Get = Callable[[str], Document]
"""What a path is answered with. Raises MeterError."""

ROOT = "/redfish/v1/"
_JOULES_PER_KWH = 3_600_000
_MOST_CHASSIS = 128
_MOST_SENSORS = 32
_TOLD_IDS = 8
_LARGEST = 1e15
"""More joules than a rack uses in its life."""
_GIVES_UP = ("timeout", "unreachable", "unauthorized", "redirected")
"""Codes after which no other resource of the server is tried."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number in one resource."""

    path: str
    keys: tuple[str | int, ...]
    scale: float = 1.0

    def of(self, document: Document) -> float:
        """The number, scaled. Raises MeterError where there is none, or one below zero."""
        value: Any = document
        for key in self.keys:
            known = key in value if isinstance(value, dict) else isinstance(value, list) and key in range(len(value))
            value = value[key] if known else None
        where = f"{self.path} {'.'.join(str(key) for key in self.keys)}"
        if value is None:
            raise MeterError("no_power", f"{where} is not told")
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
            raise MeterError("malformed", f"{where} is no number")
        if value < 0:
            raise MeterError("malformed", f"{where} is {value:g}")
        return value * self.scale


@dataclass(frozen=True)
class PowerSource:
    chassis: str
    what: str
    """What is read, in Redfish's names."""
    watts: tuple[Figure, ...]
    """They are added; a power supply that stands by draws nothing."""
    joules: Figure | None = None
    """A counter in the first resource of the watts, where there is one."""

    @property
    def paths(self) -> list[str]:
        """The resources to read."""
        return list(dict.fromkeys(figure.path for figure in self.watts))

    def watts_in(self, documents: Mapping[str, Document]) -> float:
        """Raises MeterError unless all is told, and is above zero in sum: nothing that runs draws less."""
        watts = math.fsum(figure.of(documents[figure.path]) for figure in self.watts)
        if watts <= 0:
            raise MeterError("no_power", f"{self.what} is {watts:g} W")
        return watts

    def joules_in(self, documents: Mapping[str, Document]) -> float | None:
        """None where nothing is counted. Raises MeterError for what is no count."""
        return None if self.joules is None else self.joules.of(documents[self.joules.path])


def find_power(get: Get, chassis: str | None) -> PowerSource:
    """Where the power of the chassis with that id is told; None means the one that contains all others.

    Raises MeterError where there is no such chassis, or it tells no power.
    """
    document = _chassis(get, chassis)
    reasons = []
    for way in (_environment, _power_control, _sensor, _power_supplies, _power_supplies_of_subsystem):
        try:
            return way(get, document)
        except MeterError as error:
            if error.code in _GIVES_UP:
                raise
            reasons.append(error.what)
    raise MeterError("no_power", f"chassis {_id(document)!r}: {'; '.join(dict.fromkeys(reasons))}")


def _chassis(get: Get, wanted: str | None) -> Document:
    collection = _follow(get, get(ROOT), "Chassis")
    paths = list(_members(collection))
    if len(paths) > _MOST_CHASSIS:
        raise MeterError("malformed", f"{len(paths)} chassis")
    documents = [get(path) for path in paths if wanted is None or _last(path) == wanted]
    if wanted is not None:
        if not documents:
            raise MeterError("no_power", f"no chassis {wanted!r}, only {_listed([_last(path) for path in paths])}")
        return documents[0]
    outermost = [one for one in documents if _mapping(one.get("Links")).get("ContainedBy") is None]
    if len(outermost) != 1:
        ids = _listed([_id(one) for one in outermost])
        raise MeterError(
            "no_power", f"{len(outermost)} chassis are within no other ({ids}): power.redfish.chassis says which"
        )
    return outermost[0]


def _environment(get: Get, chassis: Document) -> PowerSource:
    path = _link(chassis, "EnvironmentMetrics")
    metrics = get(path)
    counters = (Figure(path, ("EnergyJoules", "Reading")), Figure(path, ("EnergykWh", "Reading"), _JOULES_PER_KWH))
    told = next((counter for counter in counters if _is_told(counter, metrics)), None)
    names = "EnvironmentMetrics PowerWatts" + ("" if told is None else f" and {told.keys[0]}")
    return _readable(get, PowerSource(_id(chassis), names, (Figure(path, ("PowerWatts", "Reading")),), told))


def _power_control(get: Get, chassis: Document) -> PowerSource:
    """Some list their processors and memory beside the whole, which says that it is the chassis or nothing at all."""
    path = _link(chassis, "Power")
    listed = [_mapping(one) for one in _sequence(get(path).get("PowerControl"))]
    whole = [i for i, one in enumerate(listed) if one.get("PhysicalContext") in (None, "Chassis")]
    if len(whole) != 1:
        raise MeterError("no_power", f"{path} has {len(whole)} PowerControl of the whole chassis")
    figure = Figure(path, ("PowerControl", whole[0], "PowerConsumedWatts"))
    return _readable(get, PowerSource(_id(chassis), "PowerControl PowerConsumedWatts", (figure,)))


def _sensor(get: Get, chassis: Document) -> PowerSource:
    paths = [path for path in _members(_follow(get, chassis, "Sensors")) if re.search("power|pwr", _last(path), re.I)]
    sensors = {path: get(path) for path in paths[:_MOST_SENSORS]}
    whole = [
        path
        for path, sensor in sensors.items()
        if sensor.get("ReadingType") == "Power" and sensor.get("PhysicalContext") == "Chassis"
    ]
    if len(whole) != 1:
        raise MeterError("no_power", f"{len(whole)} sensors say that they measure the power of the chassis")
    return _readable(get, PowerSource(_id(chassis), f"Sensor {_last(whole[0])}", (Figure(whole[0], ("Reading",)),)))


def _power_supplies(get: Get, chassis: Document) -> PowerSource:
    path = _link(chassis, "Power")
    supplies = [_mapping(one) for one in _sequence(get(path).get("PowerSupplies"))]
    figures = [
        Figure(path, ("PowerSupplies", i, "PowerInputWatts")) for i, one in enumerate(supplies) if _is_there(one)
    ]
    what = f"PowerInputWatts of {len(figures)} power supplies"
    return _readable(get, PowerSource(_id(chassis), what, tuple(figures)))


def _power_supplies_of_subsystem(get: Get, chassis: Document) -> PowerSource:
    supplies = [get(path) for path in _members(_follow(get, _follow(get, chassis, "PowerSubsystem"), "PowerSupplies"))]
    figures = [Figure(_link(one, "Metrics"), ("InputPowerWatts", "Reading")) for one in supplies if _is_there(one)]
    what = f"InputPowerWatts of {len(figures)} power supplies"
    return _readable(get, PowerSource(_id(chassis), what, tuple(figures)))


def _readable(get: Get, source: PowerSource) -> PowerSource:
    """Raises MeterError unless all of `source` is told: the sum of some is not the whole."""
    source.watts_in({path: get(path) for path in source.paths})
    return source


def _is_told(figure: Figure, document: Document) -> bool:
    try:
        figure.of(document)
    except MeterError:
        return False
    return True


def _is_there(supply: Document) -> bool:
    return _mapping(supply.get("Status")).get("State") != "Absent"


def _follow(get: Get, document: Document, name: str) -> Document:
    return get(_link(document, name))


def _link(document: Document, name: str) -> str:
    path = _mapping(document.get(name)).get("@odata.id")
    if not isinstance(path, str):
        raise MeterError("no_power", f"no {name}")
    return path


def _members(collection: Document) -> Iterator[str]:
    for member in _sequence(collection.get("Members")):
        path = _mapping(member).get("@odata.id")
        if isinstance(path, str):
            yield path


def _id(document: Document) -> str:
    return str(document.get("Id"))[:100]


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(repr(id) for id in ids[:_TOLD_IDS]) + (", …" if len(ids) > _TOLD_IDS else "")


def _mapping(value: Any) -> Document:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
