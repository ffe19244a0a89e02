"""How long some of a set of intervals hold, in each slice of the steady window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.metrics.columns import Flags, Floats
from bench.metrics.throughput import sum_by_slice


@dataclass(frozen=True)
class Intervals:
    """Half-open intervals [begin, end), (k,) each, in any order; empty and reversed ones hold nothing."""

    begin: Floats
    end: Floats

    @classmethod
    def of(cls, begin: Floats, end: Floats) -> Intervals:
        """Those that have both limits."""
        sound = end > begin
        return cls(np.sort(begin[sound]), np.sort(end[sound]))

    def hold_at(self, t: Floats) -> Flags:
        """Whether any of them holds at each of the times `t`."""
        return np.searchsorted(self.begin, t, "right") > np.searchsorted(self.end, t, "right")


class Timeline:
    """The window cut at every limit of its slices and of the intervals that are asked about."""

    def __init__(self, edges: Floats, *asked: Intervals) -> None:
        limits = np.concatenate([edges, *(limit for one in asked for limit in (one.begin, one.end))])
        times = np.unique(limits[(limits >= edges[0]) & (limits <= edges[-1])])
        self.t = times[:-1]
        """Beginnings of the pieces, in each of which every interval either holds or does not."""
        self._lengths = np.diff(times)
        self._edges = edges

    def length(self, pieces: Flags) -> Floats:
        """Length of the chosen pieces in each slice, (slices,), in the unit of the edges."""
        return sum_by_slice(self.t, self._lengths * pieces, self._edges)
