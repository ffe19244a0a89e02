"""Distributions counted one value at a time in memory that does not grow with their number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError

RANKS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_MOST = 1 << 24
"""Largest count that is told apart: 16.8 million tokens, 128 MiB of counters."""
_WAITING = 1 << 14
"""Values kept until they are counted together: numpy counts a batch as fast as a few."""
_STEP = math.log1p(0.001)
"""Width of a bucket of `PositiveValues`, as a logarithm."""


@dataclass(frozen=True)
class Distribution:
    """What is told of many values, in their own unit."""

    n: int
    mean: float
    cv: float | None
    """Standard deviation of the whole over the mean; None where the mean is 0."""
    min: float
    max: float
    quantiles: Mapping[str, float]
    """By name, `p50`; between two values on the straight line that joins them."""


class WholeNumbers:
    """Counts whole numbers exactly: every quantile is that of the sorted values."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._counts: NDArray[np.int64] = np.zeros(1024, dtype=np.int64)
        self._waiting: list[int] = []

    def add(self, value: int) -> None:
        self._waiting.append(value)
        if len(self._waiting) == _WAITING:
            self._count()

    def summary(self) -> Distribution | None:
        """None where nothing was counted."""
        values, counts = self.counted()
        n = int(counts.sum())
        if n == 0:
            return None
        total = math.fsum((values * counts.astype(np.float64)).tolist())
        mean = total / n
        spread = math.sqrt(math.fsum((counts * (values - mean) ** 2).tolist()) / n)
        reached = np.cumsum(counts)
        places = {f"p{rank * 100:g}": _at(values, reached, rank * (n - 1)) for rank in RANKS}
        return Distribution(n, mean, spread / mean if mean else None, float(values[0]), float(values[-1]), places)

    def counted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The distinct values, rising, and how often each was added."""
        self._count()
        values = np.flatnonzero(self._counts)
        return values, self._counts[values]

    def _count(self) -> None:
        if not self._waiting:
            return
        largest = max(self._waiting)
        if largest >= _MOST:
            raise InputError(f"{self._what} of {largest}", where="statistics", allowed=f"fewer than {_MOST}")
        if largest >= len(self._counts):
            grown = np.zeros(1 << largest.bit_length(), dtype=np.int64)
            grown[: len(self._counts)] = self._counts
            self._counts = grown
        found = np.bincount(self._waiting)
        self._counts[: len(found)] += found
        self._waiting.clear()


class PositiveValues:
    """Counts values of 0 and more in buckets 0.1 % wide; n, mean, CV, least and largest are exact."""

    def __init__(self) -> None:
        self._buckets: dict[int | None, int] = {}
        self._n = 0
        self._mean = self._squares = 0.0
        self._least, self._largest = math.inf, 0.0

    def add(self, value: float) -> None:
        bucket = math.floor(math.log(value) / _STEP) if value > 0 else None
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self._least, self._largest = min(self._least, value), max(self._largest, value)
        self._n += 1
        # Welford's recurrence: the sum of squares would cancel where values are large and close.
        before = value - self._mean
        self._mean += before / self._n
        self._squares += before * (value - self._mean)

    def summary(self) -> Distribution | None:
        """None where nothing was counted."""
        if self._n == 0:
            return None
        buckets = sorted(self._buckets, key=lambda bucket: -math.inf if bucket is None else bucket)
        values = np.array([0.0 if bucket is None else math.exp((bucket + 0.5) * _STEP) for bucket in buckets])
        reached = np.cumsum([self._buckets[bucket] for bucket in buckets])
        places = {
            f"p{rank * 100:g}": min(max(_at(values, reached, rank * (self._n - 1)), self._least), self._largest)
            for rank in RANKS
        }
        cv = math.sqrt(self._squares / self._n) / self._mean if self._mean else None
        return Distribution(self._n, self._mean, cv, self._least, self._largest, places)


def _at(values: NDArray[np.int64] | NDArray[np.float64], reached: NDArray[np.int64], place: float) -> float:
    """The value at `place` among the sorted values, counted from 0: numpy's linear interpolation."""
    below = math.floor(place)
    low, high = (float(values[np.searchsorted(reached, index, side="right")]) for index in (below, math.ceil(place)))
    return low + (high - low) * (place - below)
