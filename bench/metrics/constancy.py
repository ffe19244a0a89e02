"""Whether a figure that was measured again and again stayed what it was: its slope and the shifts of its level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.records import Headline
from bench.metrics.change_points import METHOD, level_shifts
from bench.metrics.statistics import Confidence, absent, between_runs, scaled
from bench.metrics.trend import trend_per_hour

MATERIAL_SHARE = 0.01
"""A figure that moved by less over the whole time did not move as far as a buyer is concerned."""


@dataclass(frozen=True)
class LevelShift:
    at_hours: float
    """When what was measured first at the new level began."""
    before: float
    after: float
    change: float
    """As a share of the level before."""


@dataclass(frozen=True)
class Constancy:
    mean: Headline
    trend_per_hour: Headline
    """In the unit of the figure."""
    trend_share_per_hour: Headline
    """As a share of the median."""
    hours: float
    """From the first value to the last, over which the trend goes."""
    shifts: tuple[LevelShift, ...]
    shifts_method: str
    """How they were looked for, or why there is nothing to say of them."""
    shifts_told: bool
    """Whether the absence of a shift means that there was none to be seen."""

    @property
    def moved(self) -> list[str]:
        """What is no noise and is not small, in words."""
        told = [f"at {shift.at_hours:.3g} h by {shift.change:+.1%}" for shift in self.shifts if _material(shift.change)]
        slope = self.trend_share_per_hour
        if slope.low is None or slope.high is None or slope.value is None:
            return told
        if slope.low * slope.high > 0 and _material(slope.value * self.hours):
            told.append(f"by {slope.value:+.2%} an hour")
        return told

    @property
    def undecided(self) -> str | None:
        """Why it may have moved without having been seen to; None where that is ruled out."""
        if not self.shifts_told:
            return self.shifts_method
        slope = self.trend_share_per_hour
        if slope.low is None or slope.high is None:
            return slope.method
        if max(-slope.low, slope.high) * self.hours > MATERIAL_SHARE and not self.moved:
            return f"a slope of {max(-slope.low, slope.high):.2%} an hour either way is within the interval"
        return None


def constancy(hours: Sequence[float], values: Sequence[float], confidence: Confidence) -> Constancy:
    """Of `values`, all above 0, measured at the times `hours` in order."""
    level = confidence.level
    slope = trend_per_hour(hours, values, level=level)
    middle = float(np.median(values)) if len(values) else 0.0
    share = absent(slope.method, level, n=slope.n) if slope.value is None else scaled(slope, 1 / middle)
    found = level_shifts(values, level=level, seed=confidence.seed)
    return Constancy(
        mean=between_runs(values, level=level, rate=False),
        trend_per_hour=slope,
        trend_share_per_hour=share,
        hours=hours[-1] - hours[0] if len(hours) else 0.0,
        shifts=tuple(
            LevelShift(hours[shift.at], shift.before, shift.after, shift.after / shift.before - 1)
            for shift in found.found
        ),
        shifts_method=found.reason or METHOD,
        shifts_told=found.tested,
    )


def _material(change: float) -> bool:
    return abs(change) >= MATERIAL_SHARE
