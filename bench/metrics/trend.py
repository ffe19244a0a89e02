"""The slope of a series over hours: Theil's and Sen's median of the slopes of all pairs, which outliers hardly move.

Its interval is Sen's (1968, JASA 63, 1379), with the variance of Kendall's statistic inflated by how much neighbours
resemble one another about the line (Hamed and Rao 1998, Journal of Hydrology 204).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.core.records import Headline
from bench.metrics.autocorrelation import autoregression, group_means
from bench.metrics.distributions import normal_cdf, normal_quantile
from bench.metrics.statistics import absent

METHOD = "median of the slopes of all pairs (Theil and Sen), its variance inflated by the autocorrelation"
LEAST_VALUES = 10
"""With fewer the normal approximation of Kendall's statistic does not hold."""
MOST_VALUES = 1000
"""More are averaged in equal groups: there are as many slopes as pairs."""


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
    return Headline(float(slope), float(low), float(high), level, METHOD, n, "measured")
