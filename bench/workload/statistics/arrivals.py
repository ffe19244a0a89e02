"""How requests arrive: their rate, how uneven their gaps are, and how high bursts go."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

_BINS_S = (1, 10)


@dataclass(frozen=True)
class Arrivals:
    """Of requests whose time the trace knows."""

    requests: int
    span_s: float
    requests_per_s: float | None
    gap_cv: float | None
    """Standard deviation of the gaps over their mean: 1 for a Poisson process, 0 for a clock."""
    dispersion_1s: float | None
    """Variance over mean of the arrivals in each second: 1 for a Poisson process."""
    dispersion_10s: float | None
    peak_1s: int
    """Most arrivals in a second, of seconds counted from the first arrival."""
    peak_10s: int
    out_of_order: int
    """Arrivals before the one that stands before them in the file; their gap counts as 0."""
    per_bin: tuple[int, ...]
    """Arrivals in equal bins over the span, for a plot."""


class ArrivalCounter:
    """Counts arrivals by the second: memory grows with the seconds the trace spans and not with its requests."""

    def __init__(self) -> None:
        self._first_s = self._last_s = 0.0
        self._requests = self._out_of_order = 0
        self._mean_gap = self._squares = 0.0
        self._bins = {width: Counter[int]() for width in _BINS_S}

    def add(self, t_s: float) -> None:
        if self._requests == 0:
            self._first_s = self._last_s = t_s
        else:
            self._add_gap(t_s - self._last_s)
            self._last_s = max(self._last_s, t_s)
        self._requests += 1
        for width, bins in self._bins.items():
            bins[math.floor((t_s - self._first_s) / width)] += 1

    def summary(self, *, plotted: int = 60) -> Arrivals | None:
        """None where no request's time is known."""
        if self._requests == 0:
            return None
        span_s, gaps = self._last_s - self._first_s, self._requests - 1
        uneven = math.sqrt(self._squares / gaps) / self._mean_gap if gaps and self._mean_gap else None
        return Arrivals(
            requests=self._requests,
            span_s=span_s,
            requests_per_s=self._requests / span_s if span_s else None,
            gap_cv=uneven,
            dispersion_1s=self._dispersion(1),
            dispersion_10s=self._dispersion(10),
            peak_1s=max(self._bins[1].values()),
            peak_10s=max(self._bins[10].values()),
            out_of_order=self._out_of_order,
            per_bin=self._per_bin(plotted),
        )

    def _add_gap(self, gap_s: float) -> None:
        if gap_s < 0:
            self._out_of_order += 1
            gap_s = 0.0
        before = gap_s - self._mean_gap
        self._mean_gap += before / self._requests
        self._squares += before * (gap_s - self._mean_gap)

    def _dispersion(self, width_s: int) -> float | None:
        bins = self._bins[width_s]
        count = math.floor((self._last_s - self._first_s) / width_s) + 1
        if count < 2:
            return None
        mean = self._requests / count
        empty = count - len(bins)
        return (math.fsum((n - mean) ** 2 for n in bins.values()) + empty * mean**2) / count / mean

    def _per_bin(self, plotted: int) -> tuple[int, ...]:
        seconds = math.floor(self._last_s - self._first_s) + 1
        bins = [0] * min(plotted, seconds)
        for second, count in self._bins[1].items():
            bins[min(max(second, 0) * len(bins) // seconds, len(bins) - 1)] += count
        return tuple(bins)
