"""Whether a figure that was measured again and again stayed what it was: its slope and the shifts of its level.

The slope is Theil's and Sen's median of the slopes of all pairs, which outliers hardly move. Its interval is Sen's
(1968, JASA 63, 1379), with the variance of Kendall's statistic inflated by how much neighbours resemble one another
about the line (Hamed and Rao 1998, Journal of Hydrology 204). Of 400 simulated series without a slope, from seeds that
nothing here was chosen by, of 12, 30, 60 and 120 values, so many in a hundred had theirs outside the interval at 95 %:
0 to 5 with autocorrelation up to 0.7, 0 to 6 with heavy tails, 0 to 8 where white noise lay over as much wander of 0.8,
and up to 14 over as much of 0.9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.records import Headline
from bench.metrics.autocorrelation import autoregression, group_means
from bench.metrics.change_points import METHOD, level_shifts
from bench.metrics.distributions import normal_cdf, normal_quantile
from bench.metrics.statistics import Confidence, absent, between_runs, scaled

MATERIAL_SHARE = 0.01
"""A figure that moved by less over the whole time did not move as far as a buyer is concerned."""
LEAST_VALUES = 10
"""Of a slope: with fewer the normal approximation of Kendall's statistic does not hold."""
MOST_VALUES = 1000
"""Of a slope: more are averaged in equal groups, for there are as many slopes as pairs."""
SLOPE_METHOD = "median of the slopes of all pairs (Theil and Sen), its variance inflated by the autocorrelation"


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
            told.append(f"by {slope.value:+,.2%} an hour")
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
            return f"a slope of {max(-slope.low, slope.high):,.2%} an hour either way is within the interval"
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


def trend_per_hour(hours: Sequence[float], values: Sequence[float], *, level: float) -> Headline:
    """Slope of `values` per hour at the times `hours`, with its interval at `level`."""
    n = len(values)
    if n < LEAST_VALUES:
        return absent(f"a slope needs {LEAST_VALUES} values, there are {n}", level, n=n)
    if max(hours) == min(hours):
        return absent("all values are of one time", level, n=n)
    from scipy.stats import theilslopes

    group = math.ceil(n / MOST_VALUES)
    x, y = group_means(hours, group), group_means(values, group)
    slope, intercept, *_ = theilslopes(y, x)
    inflation = float(autoregression(y - intercept - slope * x, fitted=3).inflation)
    quantile = normal_quantile((1 + level) / 2) * math.sqrt(inflation)
    _, _, low, high = theilslopes(y, x, alpha=2 * normal_cdf(-quantile))
    return Headline(float(slope), float(low), float(high), level, SLOPE_METHOD, n, "measured")


def _material(change: float) -> bool:
    return abs(change) >= MATERIAL_SHARE
