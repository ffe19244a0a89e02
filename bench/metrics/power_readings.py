"""Power readings of devices turned into joules per slice of time, or into the reason why they cannot be.

A monotonic counter is interpolated linearly between the readings at which it had moved; watts are integrated by the
trapezoid rule with the power at the edges interpolated the same way. Both say how wrong they may be for being read only
so often. Nothing is known of what watts did between two readings: a load that repeats in step with them is seen at one
moment of its course alone, which only a counter beside them tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from bench.core.units import NS_PER_S, seconds_from_ns
from bench.metrics.columns import Floats
from bench.metrics.power_faults import clock_fault, counter_fault, enclosing, frozen_fault, gap_fault

AVERAGED_S = 1.0
"""What watts may be the average of, as NVML's slowest are; the power table does not say. They tell of a change late."""
_BEHIND_S = dict.fromkeys(("cpu", "dram", "psys"), 0.005)
"""By scope: how old its counters may be where that is known. RAPL refreshes them each millisecond (Intel SDM, volume
3B, package energy status), and it takes as long to read them on a busy machine. Others may be one pause old."""
_LINE_VARIANCE = 1.5
"""Of how far a value lies off its neighbours' line, where each varies by itself with variance 1."""


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
    """What their sum may be off by for being read only so often, two standard errors."""
    resolution_s: float
    """Time between one new reading and the next, the median; of the slowest device."""

    @property
    def total(self) -> float:
        return math.fsum(self.joules)

    @property
    def error(self) -> float:
        """`error_joules` as a share of the sum."""
        return self.error_joules / self.total

    @classmethod
    def sum(cls, parts: Sequence[Metered]) -> Metered:
        """Of devices that do not contain one another, at least one."""
        return cls(
            joules=np.sum([part.joules for part in parts], axis=0),
            error_joules=math.fsum(part.error_joules for part in parts),  # devices of one kind are late together
            resolution_s=max(part.resolution_s for part in parts),
        )


@dataclass(frozen=True, slots=True)
class Unreadable:
    reason: str


def devices_of(table: Any, *, start_ns: int, run_ns: float | None = None) -> list[Device]:
    """The devices of a power table (`pyarrow.Table`, a row a PowerRow), by scope and name.

    `run_ns` is when the run ended, from its start.
    """
    pairs = sorted(set(zip(table["scope"].to_pylist(), table["device"].to_pylist(), strict=True)))
    devices = []
    for scope, name in pairs:
        rows = table.filter((pc.field("scope") == scope) & (pc.field("device") == name))
        fault = clock_fault((rows["t_ns"].to_numpy() - start_ns).astype(np.float64), run_ns)
        rows = rows.sort_by("t_ns")
        watts, counter = (_readings(rows, column, start_ns) for column in ("watts", "joules_counter"))
        devices.append(Device(scope, name, watts, counter, fault))
    return devices


def counted(device: Device, edges: Floats) -> Metered | Unreadable:
    """Joules of a device between consecutive `edges` by its energy counter."""
    read, start_ns, end_ns = device.joules_counter, float(edges[0]), float(edges[-1])
    fault = gap_fault(read.t, start_ns, end_ns) or device.clock_fault
    if fault is not None:
        return Unreadable(fault)
    near = read.between(start_ns, end_ns)
    if (fault := counter_fault(near.value)) is not None:
        return Unreadable(fault)
    moved = _moves(read)
    fault = gap_fault(moved.t, start_ns, end_ns, "it stood still for {:.1f} s")
    if fault is not None:
        return Unreadable(fault)
    joules = np.diff(np.interp(edges, moved.t, moved.value))
    behind_s = min(_resolution_s(near), _BEHIND_S.get(device.scope, math.inf))
    return Metered(joules, _counter_error(moved, behind_s, edges), _resolution_s(moved.between(start_ns, end_ns)))


def integrated(device: Device, edges: Floats) -> Metered | Unreadable:
    """Joules of a device between consecutive `edges` by its watts."""
    watts, start_ns, end_ns = device.watts, float(edges[0]), float(edges[-1])
    fault = gap_fault(watts.t, start_ns, end_ns) or device.clock_fault
    if fault is not None:
        return Unreadable(fault)
    near = watts.between(start_ns, end_ns)
    if (fault := frozen_fault(near.t, near.value)) is not None:
        return Unreadable(fault)
    t = np.union1d(edges, watts.t[(watts.t > edges[0]) & (watts.t < edges[-1])])
    power = np.interp(t, watts.t, watts.value)
    pieces = (power[1:] + power[:-1]) / 2 * np.diff(t) / NS_PER_S
    reached = np.concatenate([[0.0], np.cumsum(pieces)])[np.searchsorted(t, edges)]
    if reached[-1] <= 0:
        return Unreadable("they tell no power")
    lag = AVERAGED_S / 2 * abs(float(power[-1] - power[0]))
    measured = _changes(near)
    return Metered(np.diff(reached), math.hypot(2 * _sampling_error(measured), lag), _resolution_s(measured))


def _readings(rows: Any, column: str, start_ns: int) -> Readings:
    present = rows.filter(pc.is_valid(rows[column]))
    # A meter on the network may tell twice of one moment.
    t, first = np.unique(present["t_ns"].to_numpy() - start_ns, return_index=True)
    return Readings(t.astype(np.float64), np.asarray(present[column].to_numpy(), dtype=np.float64)[first])


def _moves(counter: Readings) -> Readings:
    """The readings at which a counter had moved, with the first and the last."""
    kept = np.concatenate([[True], np.diff(counter.value) > 0])
    kept[-1] = True
    return Readings(counter.t[kept], counter.value[kept])


def _counter_error(moved: Readings, behind_s: float, edges: Floats) -> float:
    """What a counter's energy between the outer `edges` may be off by, in joules.

    It shows what was up to `behind_s` ago, and how long ago drifts where it is refreshed nearly as often as it is read:
    in a steady power nothing tells that. Nor does a step between two readings at which it had moved tell what the power
    did within.
    """
    outer = edges[[0, -1]]
    mean = np.diff(np.interp(outer, moved.t, moved.value)) / np.diff(outer)
    return max(behind_s * NS_PER_S * float(mean[0]), *(_change(moved, edge) for edge in outer.tolist()))


def _change(moved: Readings, edge: float) -> float:
    """By how many joules the step around `edge` differs from as long a time before it, or after it."""
    step = min(int(np.searchsorted(moved.t, edge, side="right")) - 1, len(moved.t) - 2)
    begin, end = moved.t[step : step + 2].tolist()
    t = np.array([2 * begin - end, begin, end, 2 * end - begin])
    t = t[(t >= moved.t[0]) & (t <= moved.t[-1])]
    return float(np.abs(np.diff(np.interp(t, moved.t, moved.value), 2)).max(initial=0.0))


def _sampling_error(watts: Readings) -> float:
    """Standard error in joules of a trapezoid over these readings, from how far each lies off its neighbours' line.

    Each stands for its share of the time. A step of power that falls between two readings is taken for twice the error
    it makes.
    """
    if len(watts.t) < 3:
        return 0.0
    stands_for_s = (watts.t[2:] - watts.t[:-2]) / 2 / NS_PER_S
    return math.sqrt(math.fsum((stands_for_s * _off_the_line(watts)) ** 2) / _LINE_VARIANCE)


def _off_the_line(readings: Readings) -> Floats:
    """How far each value lies off the line between those beside it, (n − 2,)."""
    before, after = np.diff(readings.t)[:-1], np.diff(readings.t)[1:]
    line = (readings.value[:-2] * after + readings.value[2:] * before) / (before + after)
    return np.asarray(readings.value[1:-1] - line, dtype=np.float64)


def _changes(watts: Readings) -> Readings:
    """The readings that are new: most meters measure less often than they may be read."""
    kept = np.concatenate([[True], np.diff(watts.value) != 0])
    # A power that never changes tells nothing of how often it is measured.
    return Readings(watts.t[kept], watts.value[kept]) if kept.sum() > 2 else watts


def _resolution_s(readings: Readings) -> float:
    return seconds_from_ns(float(np.median(np.diff(readings.t))))
