"""Whether something grew or fell throughout the steady window, beyond what its own unrest explains.

The window is cut into equal blocks, and the median of the slopes between all pairs of them is the trend (Theil 1950,
Sen 1968): a block that stands out hardly moves it. Neighbouring blocks resemble one another, which makes an interval
for independent ones too narrow; it is widened by what their correlation leaves of their number (Bayley and Hammersley
1946, JRSS Supplement 8, 184). So few blocks tell that correlation badly: of first-order autoregressions without a trend
the interval holds 0 in 99 % of draws where neighbours correlate by 0, in 98 % by 0.5, and in 96 % by 0.8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from bench.core.records import Headline
from bench.core.spec import ClosedLoadSpec, LoadSpec
from bench.metrics.columns import Floats
from bench.metrics.health_series import Series
from bench.metrics.statistics import absent
from bench.metrics.steady_state import Window
from bench.metrics.throughput import SLICES, TokenSlices

THROUGHPUT = "output_tokens_per_s"
LEVEL = 0.99
"""A run is asked about its tokens and every clock, so that one in twenty would often be wrong about some of them."""
BLOCKS = 24
"""Enough for the interval of a slope, and of a window of a minute each is longer than most answers take."""
TOLD_S = 60.0
"""A shorter window cannot tell a drift from the sessions it happens to hold; clocks take that long to follow heat."""
MOST_CORRELATION = 0.8
"""Beyond it a wander and a drift look alike in so few blocks, and no interval would find either."""
FITTED = 2
"""Figures that a straight line takes off what is left. Each takes about (1 + 3ρ)/n off the correlation that is seen in
it, which is put back (for a mean: Kendall 1954, Biometrika 41, 403)."""
METHOD = "median of slopes (Theil, Sen), widened for correlation of neighbours"


def drifts(tokens: TokenSlices, clocks: Mapping[str, Series], window: Window, load: LoadSpec) -> dict[str, Headline]:
    """The `trend` over the window of output tokens/s, and of each of the `clocks` under its name."""
    if window.seconds < TOLD_S:
        short = absent(f"a window of {window.seconds:.1f} s is too short for it: {TOLD_S:g} s", LEVEL)
        return dict.fromkeys((THROUGHPUT, *clocks), short)
    return {
        THROUGHPUT: _of_tokens(tokens, load),
        **{name: _of_series(series, window) for name, series in clocks.items()},
    }


def _of_tokens(tokens: TokenSlices, load: LoadSpec) -> Headline:
    if not isinstance(load, ClosedLoadSpec):
        return absent("what arrives sets it, not the machine", LEVEL)
    return trend(tokens.output.reshape(BLOCKS, SLICES // BLOCKS).sum(axis=1))


def _of_series(series: Series, window: Window) -> Headline:
    edges = np.linspace(window.start_ns, window.end_ns, BLOCKS + 1)
    means = [series.over(Window(float(begin), float(end))) for begin, end in pairwise(edges)]
    told = [mean.mean for mean in means if mean is not None]
    if len(told) < BLOCKS:
        return absent("it was not told throughout the window", LEVEL, n=len(told))
    return trend(np.array(told))


def trend(blocks: Floats) -> Headline:
    """Change from the beginning of the first block to the end of the last, relative to their median.

    −0.1 is a fall by 10 %.
    """
    from scipy.stats import theilslopes  # takes a second to import, and no first turn is to wait for that

    n, middle = len(blocks), float(np.median(blocks))
    if middle <= 0:
        return absent("half of the window had none", LEVEL, n=n)
    index = np.arange(n, dtype=np.float64)
    slope, intercept, low, high = (float(figure) for figure in theilslopes(blocks, index, alpha=LEVEL))
    widened = _widening(blocks - (intercept + slope * index))
    low, high = slope - widened * (slope - low), slope + widened * (high - slope)
    scale = n / middle
    return Headline(slope * scale, low * scale, high * scale, LEVEL, METHOD, n, "measured")


def _widening(residuals: Floats) -> float:
    """The square root of how many correlated blocks tell as much as an independent one."""
    n, total = len(residuals), math.fsum(residuals**2)
    seen = math.fsum(residuals[1:] * residuals[:-1]) / total if total else 0.0
    correlation = min(max((seen * n + FITTED) / (n - 3 * FITTED), 0.0), MOST_CORRELATION)
    return math.sqrt((1 + correlation) / (1 - correlation))
