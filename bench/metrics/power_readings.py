"""Power readings of devices turned into joules per slice of time, or into the reason why they cannot be.

A monotonic counter is interpolated linearly at the edges of the slices; watts are integrated by the trapezoid rule with
the power at the edges interpolated the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from bench.core.units import NS_PER_S, seconds_from_ns
from bench.metrics.columns import Floats

MAX_GAP_S = 3.0


@dataclass(frozen=True)
class Readings:
    """One device's readings of one quantity: times in nanoseconds since the run's start, ascending, (n,) each."""

    t: Floats
    value: Floats


@dataclass(frozen=True)
class Device:
    scope: str
    name: str
    watts: Readings
    joules_counter: Readings


@dataclass(frozen=True, slots=True)
class Unreadable:
    reason: str


def devices_of(table: Any, *, start_ns: int) -> list[Device]:
    """The devices of a power table (`pyarrow.Table`, a row a PowerRow), by scope and name."""
    pairs = sorted(set(zip(table["scope"].to_pylist(), table["device"].to_pylist(), strict=True)))
    return [
        Device(scope, name, _readings(rows, "watts", start_ns), _readings(rows, "joules_counter", start_ns))
        for scope, name in pairs
        for rows in [table.filter((pc.field("scope") == scope) & (pc.field("device") == name)).sort_by("t_ns")]
    ]


def counted_joules(devices: Sequence[Device], edges: Floats) -> Floats | Unreadable:
    """Joules of all `devices` between consecutive `edges` by their energy counters, (edges − 1,)."""
    return _summed([device.joules_counter for device in devices], edges, _counter_at)


def integrated_joules(devices: Sequence[Device], edges: Floats) -> Floats | Unreadable:
    """Joules of all `devices` between consecutive `edges` by their watts, (edges − 1,)."""
    return _summed([device.watts for device in devices], edges, _integral_at)


def _readings(rows: Any, column: str, start_ns: int) -> Readings:
    present = rows.filter(pc.is_valid(rows[column]))
    return Readings(
        t=np.asarray(present["t_ns"].to_numpy() - start_ns, dtype=np.float64),
        value=np.asarray(present[column].to_numpy(), dtype=np.float64),
    )


def _summed(
    readings: Sequence[Readings], edges: Floats, joules_at: Callable[[Readings, Floats], Floats]
) -> Floats | Unreadable:
    total = np.zeros(len(edges) - 1)
    for one in readings:
        if (fault := _fault(one.t, float(edges[0]), float(edges[-1]))) is not None:
            return fault
        total += np.diff(joules_at(one, edges))
    if total.sum() <= 0:
        return Unreadable("the readings do not move")
    return total


def _fault(t: Floats, start_ns: float, end_ns: float) -> Unreadable | None:
    """What is wrong with readings at times `t` for energy between `start_ns` and `end_ns`, if anything."""
    if len(t) == 0:
        return Unreadable("not read")
    if t[0] > start_ns or t[-1] < end_ns:
        return Unreadable("the readings do not enclose the steady window")
    first = int(np.searchsorted(t, start_ns, side="right")) - 1
    after = int(np.searchsorted(t, end_ns, side="left")) + 1
    gap_s = seconds_from_ns(float(np.diff(t[first:after]).max(initial=0.0)))
    if gap_s > MAX_GAP_S:
        return Unreadable(f"a gap of {gap_s:.1f} s between readings, more than {MAX_GAP_S:g} s")
    return None


def _counter_at(counter: Readings, edges: Floats) -> Floats:
    return np.interp(edges, counter.t, counter.value)


def _integral_at(watts: Readings, edges: Floats) -> Floats:
    """Joules from the first edge to each edge, (edges,)."""
    t = np.union1d(edges, watts.t[(watts.t > edges[0]) & (watts.t < edges[-1])])
    power = np.interp(t, watts.t, watts.value)
    pieces = (power[1:] + power[:-1]) / 2 * np.diff(t) / NS_PER_S
    joules = np.concatenate([[0.0], np.cumsum(pieces)])
    return np.asarray(joules[np.searchsorted(t, edges)], dtype=np.float64)
