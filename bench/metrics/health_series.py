"""The health table as series: what each device said of each of its figures, look after look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from bench.core.units import seconds_from_ns
from bench.metrics.columns import Floats
from bench.metrics.steady_state import Window


@dataclass(frozen=True)
class Gauge:
    """A figure that goes up and down; each look holds until the next."""

    mean: float
    min: float
    max: float


@dataclass(frozen=True)
class Series:
    """One figure of one device: times in nanoseconds since the run's start, ascending, (n,); NaN where it was null."""

    t: Floats
    value: Floats

    @cached_property
    def told(self) -> Series:
        """The looks at which it was told."""
        sound = ~np.isnan(self.value)
        return Series(self.t[sound], self.value[sound])

    def over(self, window: Window) -> Gauge | None:
        """The figure over `window`; None where it was not told in it."""
        value, weights = self._held(window)
        if not weights.sum():
            return None
        told = value[weights > 0]
        return Gauge(float(np.average(value, weights=weights)), float(told.min()), float(told.max()))

    def rise(self, window: Window) -> float | None:
        """How far a counter rose within `window`, which is interpolated between looks; None where it was not told.

        A counter that falls was set back, and goes on from there.
        """
        told = self.told
        if len(told.t) < 2 or told.t[-1] <= window.start_ns or told.t[0] >= window.end_ns:
            return None
        climbed = np.concatenate([[0.0], np.cumsum(np.maximum(np.diff(told.value), 0.0))])
        begin, end = np.interp([window.start_ns, window.end_ns], told.t, climbed)
        return float(end - begin)

    def share_of_time(self, window: Window) -> float | None:
        """How far a counter of seconds rose for each second of `window` in which it was told."""
        rise, told = self.rise(window), self.told
        if rise is None:
            return None
        begin, end = max(window.start_ns, float(told.t[0])), min(window.end_ns, float(told.t[-1]))
        return rise / seconds_from_ns(end - begin)

    @property
    def total_rise(self) -> float | None:
        """How far a counter rose from the first look to the last; None where it was told in fewer than two."""
        told = self.told.value
        return float(np.maximum(np.diff(told), 0.0).sum()) if len(told) > 1 else None

    @property
    def last(self) -> float | None:
        """What was told last."""
        return float(self.told.value[-1]) if len(self.told.value) else None

    @property
    def highest(self) -> float | None:
        return float(self.told.value.max()) if len(self.told.value) else None

    @property
    def lost_at_ns(self) -> float | None:
        """When it was first null after it had last been told; None where it never was, or was told to the end."""
        told = np.flatnonzero(~np.isnan(self.value))
        return None if len(told) == 0 or told[-1] == len(self.t) - 1 else float(self.t[told[-1] + 1])

    def _held(self, window: Window) -> tuple[Floats, Floats]:
        """The values told, and how long each held within `window`: until the next look, or the window's end."""
        until = np.append(self.t[1:], max(window.end_ns, float(self.t[-1]))) if len(self.t) else self.t
        held = np.minimum(until, window.end_ns) - np.maximum(self.t, window.start_ns)
        sound = ~np.isnan(self.value) & (held > 0)
        return self.value[sound], held[sound]


NOTHING = Series(np.empty(0), np.empty(0))


def series_of(table: Any, *, start_ns: int) -> Mapping[str, Mapping[str, Series]]:
    """By device and name, in that order, from a health table (`pyarrow.Table`, a row a HealthRow)."""
    table = table.sort_by([("device", "ascending"), ("name", "ascending"), ("t_ns", "ascending")])
    devices, names = (table[column].combine_chunks().dictionary_encode() for column in ("device", "name"))
    device, name = devices.indices.to_numpy(), names.indices.to_numpy()
    t = np.asarray(table["t_ns"].to_numpy() - start_ns, dtype=np.float64)
    value = np.asarray(table["value"].to_numpy(), dtype=np.float64)
    limits = [0, *(np.flatnonzero(np.diff(device) | np.diff(name)) + 1), len(t)] if len(t) else [0]
    found: dict[str, dict[str, Series]] = {}
    for first, after in pairwise(limits):
        of_device = found.setdefault(devices.dictionary[int(device[first])].as_py(), {})
        of_device[names.dictionary[int(name[first])].as_py()] = Series(t[first:after], value[first:after])
    return found
