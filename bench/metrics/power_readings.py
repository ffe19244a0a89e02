"""Power readings of devices turned into joules per slice of time, or into the reason why they cannot be.

A monotonic counter is interpolated linearly between the readings at which it had moved; watts are integrated by the
trapezoid rule with the power at the edges interpolated the same way. Both say how wrong they may be for being read only
so often, as one standard error, and beyond MAX_ERROR they are refused as the energy of a window.

A sensor that looks at the power for 25 ms of every 100 (A100 and H100, arXiv:2312.02741) is sound where the load does
not beat in its time, as with any sampling; no reading shows that it does, but counter and watts may disagree for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from bench.core.units import NS_PER_S, seconds_from_ns
from bench.metrics.columns import Floats
from bench.metrics.power_faults import clock_fault, counter_fault, enclosing, frozen_fault, gap_fault

MAX_ERROR = 0.005


@dataclass(frozen=True)
class Readings:
    """One device's readings of one quantity: times in nanoseconds since the run's start, ascending, (n,) each."""

    t: Floats
    value: Floats

    def between(self, start_ns: float, end_ns: float) -> Readings:
        """The fewest that enclose the time from `start_ns` to `end_ns`."""
        first, after = enclosing(self.t, start_ns, end_ns)
        return Readings(self.t[first:after], self.value[first:after])


@dataclass(frozen=True)
class Device:
    scope: str
    name: str
    watts: Readings
    joules_counter: Readings
    clock_fault: str | None = None
    """What is wrong with the times of its readings."""


@dataclass(frozen=True)
class Metered:
    joules: Floats
    """Between consecutive edges, (edges − 1,)."""
    error_joules: float
    """Standard error of their sum."""
    resolution_s: float
    """Time between one new reading and the next, the median; of the slowest device."""

    @property
    def total(self) -> float:
        return math.fsum(self.joules)

    @property
    def error(self) -> float:
        """Relative standard error of the sum."""
        return self.error_joules / self.total


@dataclass(frozen=True, slots=True)
class Unreadable:
    reason: str


def devices_of(
    table: Any, *, start_ns: int, run_ns: float | None = None, since_ns: float = -math.inf, until_ns: float = math.inf
) -> list[Device]:
    """The devices of a power table (`pyarrow.Table`, a row a PowerRow), by scope and name.

    Only rows from `since_ns` to `until_ns` are taken. These and `run_ns`, when the run ended, count from its start.
    """
    pairs = sorted(set(zip(table["scope"].to_pylist(), table["device"].to_pylist(), strict=True)))
    t = table["t_ns"].to_numpy() - start_ns
    table = table.filter((t >= since_ns) & (t <= until_ns))
    devices = []
    for scope, name in pairs:
        rows = table.filter((pc.field("scope") == scope) & (pc.field("device") == name))
        fault = clock_fault((rows["t_ns"].to_numpy() - start_ns).astype(np.float64), run_ns)
        rows = rows.sort_by("t_ns")
        watts, counter = (_readings(rows, column, start_ns) for column in ("watts", "joules_counter"))
        devices.append(Device(scope, name, watts, counter, fault))
    return devices


def counted_joules(devices: Sequence[Device], edges: Floats) -> Metered | Unreadable:
    """Joules of all `devices` between consecutive `edges` by their energy counters."""
    return _summed(devices, edges, _counted)


def integrated_joules(devices: Sequence[Device], edges: Floats) -> Metered | Unreadable:
    """Joules of all `devices` between consecutive `edges` by their watts."""
    return _summed(devices, edges, _integrated)


def precise(metered: Metered | Unreadable) -> Metered | Unreadable:
    """`metered`, unless it may be wrong by more than MAX_ERROR."""
    if isinstance(metered, Unreadable) or metered.error <= MAX_ERROR:
        return metered
    return Unreadable(
        f"new readings every {metered.resolution_s:.3g} s leave {metered.error:.1%} of the energy of so short or "
        f"uneven a window uncertain, more than {MAX_ERROR:.1%}"
    )


def _readings(rows: Any, column: str, start_ns: int) -> Readings:
    present = rows.filter(pc.is_valid(rows[column]))
    return Readings(
        t=np.asarray(present["t_ns"].to_numpy() - start_ns, dtype=np.float64),
        value=np.asarray(present[column].to_numpy(), dtype=np.float64),
    )


def _summed(
    devices: Sequence[Device], edges: Floats, metered: Callable[[Device, Floats], Metered | Unreadable]
) -> Metered | Unreadable:
    parts = []
    for device in devices:
        part = metered(device, edges)
        if isinstance(part, Unreadable):
            return part
        if device.clock_fault is not None:
            return Unreadable(device.clock_fault)
        parts.append(part)
    joules = np.sum([part.joules for part in parts], axis=0)
    if joules.sum() <= 0:
        return Unreadable("the readings do not move")
    error = math.hypot(*(part.error_joules for part in parts))
    return Metered(joules, error, max(part.resolution_s for part in parts))


def _counted(device: Device, edges: Floats) -> Metered | Unreadable:
    read, start_ns, end_ns = device.joules_counter, float(edges[0]), float(edges[-1])
    fault = gap_fault(read.t, start_ns, end_ns) or counter_fault(read.value)
    if fault is not None:
        return Unreadable(fault)
    moved = _moves(read)
    fault = gap_fault(moved.t, start_ns, end_ns, "it stood still for {:.1f} s")
    if fault is not None:
        return Unreadable(fault)
    near = moved.between(start_ns, end_ns)
    joules = np.diff(np.interp(edges, moved.t, moved.value))
    return Metered(joules, _counter_error(near, read.between(start_ns, end_ns)), _resolution_s(near))


def _moves(counter: Readings) -> Readings:
    """The readings at which a counter had moved, with the first and the last."""
    kept = np.concatenate([[True], np.diff(counter.value) > 0])
    kept[-1] = True
    return Readings(counter.t[kept], counter.value[kept])


def _counter_error(moved: Readings, read: Readings) -> float:
    """Joules a counter may be wrong by at the edges of what it was read for.

    What it shows is up to one refreshing old. That cancels out between two edges with the same power. Where it is read
    more often than it is refreshed, the moment of that is known to one pause between readings, even odds within it.
    """
    pieces = np.diff(moved.value) / np.diff(moved.t)
    lag = _resolution_s(moved) * NS_PER_S / 2 * abs(pieces[-1] - pieces[0])
    stood = len(read.t) > len(moved.t) + 1
    jitter = float(np.median(np.diff(read.t))) * math.sqrt((pieces[0] ** 2 + pieces[-1] ** 2) / 12) if stood else 0.0
    return math.hypot(lag, jitter)


def _integrated(device: Device, edges: Floats) -> Metered | Unreadable:
    watts, start_ns, end_ns = device.watts, float(edges[0]), float(edges[-1])
    fault = gap_fault(watts.t, start_ns, end_ns)
    if fault is not None:
        return Unreadable(fault)
    near = watts.between(start_ns, end_ns)
    if (fault := frozen_fault(near.t, near.value)) is not None:
        return Unreadable(fault)
    t = np.union1d(edges, watts.t[(watts.t > edges[0]) & (watts.t < edges[-1])])
    power = np.interp(t, watts.t, watts.value)
    pieces = (power[1:] + power[:-1]) / 2 * np.diff(t) / NS_PER_S
    reached = np.concatenate([[0.0], np.cumsum(pieces)])[np.searchsorted(t, edges)]
    return Metered(np.diff(reached), _sampling_error(near), _resolution_s(_changes(near)))


def _sampling_error(watts: Readings) -> float:
    """Joules a trapezoid over these readings may be wrong by, from how far each lies off the line of its neighbours.

    Of readings that vary independently by σ that distance has the variance 1.5 σ², and each stands for its share of the
    time. A step of power that falls between two readings is taken for twice the error it makes.
    """
    if len(watts.t) < 3:
        return 0.0
    before, after = np.diff(watts.t)[:-1], np.diff(watts.t)[1:]
    line = (watts.value[:-2] * after + watts.value[2:] * before) / (before + after)
    stands_for_s = (before + after) / 2 / NS_PER_S
    return math.sqrt(math.fsum((stands_for_s * (watts.value[1:-1] - line)) ** 2) / 1.5)


def _changes(watts: Readings) -> Readings:
    kept = np.concatenate([[True], np.diff(watts.value) != 0])
    # A power that never changes tells nothing of how often it is measured.
    return Readings(watts.t[kept], watts.value[kept]) if kept.sum() > 2 else watts


def _resolution_s(readings: Readings) -> float:
    return seconds_from_ns(float(np.median(np.diff(readings.t))))
