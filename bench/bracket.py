"""The highest load that meets an SLO, between one that was seen to meet it and one that was seen to miss it.

From where the user starts the load is doubled or halved until both are known; then it is bisected, rates at their
geometric mean and counts at the integer nearest to it. Which load comes next follows from the points alone, so a search
that was interrupted goes on where it was, and what was measured before spares it probes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

from bench.core.records import Headline
from bench.metrics.statistics import share_of

MOST_RUNS = 3
"""Runs of one load after which its pooled share decides, even where the interval does not."""


@dataclass(frozen=True)
class Point:
    """What the runs of one load came to, their requests pooled."""

    load: float
    asked_share: float
    good_share: Headline
    runs: int
    failed: bool = False
    """Whether a run had more failures than a valid one may have: the load was missed, whatever its share."""

    @classmethod
    def of(cls, load: float, runs: Collection[tuple[int, int]], asked_share: float, level: float) -> Self:
        """The point of `runs`, each its good requests and all of them."""
        good, requests = (sum(counts) for counts in zip(*runs, strict=True))
        return cls(load, asked_share, share_of(good, requests, level), len(runs))

    @property
    def meets(self) -> bool:
        return not self.failed and (self.good_share.value or 0.0) >= self.asked_share

    @property
    def decided(self) -> bool:
        """Whether the share's interval leaves the asked share out."""
        low, high = self.good_share.low, self.good_share.high
        return self.failed or (low is not None and low >= self.asked_share) or (high or 0.0) < self.asked_share


@dataclass(frozen=True)
class Bracket:
    """The lowest load that missed, and the highest below it that met."""

    meets: Point | None
    misses: Point | None

    @classmethod
    def of(cls, points: Iterable[Point]) -> Self:
        ordered = sorted(points, key=lambda point: point.load)
        first_miss = next((place for place, point in enumerate(ordered) if not point.meets), len(ordered))
        return cls(ordered[first_miss - 1] if first_miss else None, next(iter(ordered[first_miss:]), None))


@dataclass(frozen=True)
class Steps:
    """How a search goes from point to point."""

    start: float
    counts: bool
    """Whether loads are whole numbers."""
    precision: float
    """It ends when both ends are this close, relative to the higher."""
    least_runs: int = 1

    def next_load(self, points: Collection[Point]) -> float | None:
        """The load to run next, which may be one that is to be run once more; None at the end."""
        bracket = Bracket.of(points)
        meets, misses = bracket.meets, bracket.misses
        for end in (meets, misses):
            if end is not None and (end.runs < self.least_runs or not (end.decided or end.runs >= MOST_RUNS)):
                return end.load
        if meets is None:
            return self.start if misses is None else self._halved(misses.load)
        if misses is None:
            return max(2 * meets.load, self.start)
        return None if self._close(meets.load, misses.load) else self._between(meets.load, misses.load)

    def _halved(self, load: float) -> float | None:
        if self.counts:
            return min(load // 2, self.start) if load >= 2 else None
        return min(load / 2, self.start)

    def _close(self, low: float, high: float) -> bool:
        return high - low <= max(1.0 if self.counts else 0.0, self.precision * high)

    def _between(self, low: float, high: float) -> float | None:
        middle = math.sqrt(low * high)
        if self.counts:
            return min(max(round(middle), low + 1), high - 1)
        # As somebody would type it, so that a run by hand is the same case.
        digits = max(4, math.ceil(-math.log10(self.precision)) + 2)
        typed = float(f"{middle:.{digits}g}")
        return typed if low < typed < high else None


def out_of_order(points: Iterable[Point]) -> list[float]:
    """Loads that met the SLO though a lower one missed it."""
    points = list(points)
    lowest = min((point.load for point in points if not point.meets), default=math.inf)
    return sorted(point.load for point in points if point.meets and point.load > lowest)
