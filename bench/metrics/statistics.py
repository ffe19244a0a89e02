"""Headlines: a number with an interval, from one run or from several.

Within a run neighbours resemble one another, so whole blocks of consecutive requests, or of consecutive slices of time,
are resampled (moving blocks on a circle: Politis and Romano 1992). Between runs the runs are taken as independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.core.records import Basis, Headline
from bench.metrics.distributions import normal_cdf, normal_quantile, t_quantile

if TYPE_CHECKING:
    from bench.metrics.columns import Floats

RESAMPLES = 1000
WILSON = "Wilson score interval, requests taken as independent"
WITHIN_RUN = "block bootstrap within the run"
BETWEEN_RUNS = "t-interval on the mean of runs"
BETWEEN_RUNS_LOG = "t-interval on the mean logarithm of runs"


@dataclass(frozen=True, slots=True)
class Confidence:
    """How the intervals of a record are made."""

    level: float
    seed: int
    """Of the bootstrap, so that intervals recompute."""


def absent(reason: str, level: float, *, n: int = 0, basis: Basis = "measured") -> Headline:
    """A headline without a number, and why."""
    return Headline(value=None, low=None, high=None, level=level, method=reason, n=n, basis=basis)


def scaled(headline: Headline, factor: float) -> Headline:
    """`headline` times a constant."""
    return replace(
        headline,
        value=None if headline.value is None else headline.value * factor,
        low=None if headline.low is None else headline.low * factor,
        high=None if headline.high is None else headline.high * factor,
    )


def inverse(headline: Headline, numerator: float = 1.0) -> Headline:
    """`numerator` over `headline`; the interval turns round, and what was 0 has no inverse."""
    return replace(
        headline,
        value=numerator / headline.value if headline.value else None,
        low=numerator / headline.high if headline.high else None,
        high=numerator / headline.low if headline.low else None,
    )


def ratio(numerators: Floats, denominators: Floats, confidence: Confidence, *, basis: Basis = "measured") -> Headline:
    """Σ numerators / Σ denominators over cells in time order, (cells,) each."""
    n = len(numerators)
    total = math.fsum(denominators)
    if total == 0:
        return absent("nothing to divide by", confidence.level, n=n, basis=basis)
    weights = block_weights(n, confidence.seed)
    below = weights @ denominators
    resampled = (weights @ numerators)[below > 0] / below[below > 0]
    value = math.fsum(numerators) / total
    return headline(value, resampled, cells=n, level=confidence.level, n=n, basis=basis)


def headline(value: float, resampled: Floats, *, cells: int, level: float, n: int, basis: Basis) -> Headline:
    """`value` with the interval its resamples support; none where the run is shorter than two blocks."""
    blocks = cells / block_length(cells) if cells else 0.0
    if blocks < 2 or len(resampled) == 0:
        return Headline(value, None, None, level, f"too short for an interval: {n} observed", n, basis)
    tail = expanded_tail(level, blocks)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Headline(value, min(float(low), value), max(float(high), value), level, WITHIN_RUN, n, basis)


def block_length(cells: int) -> int:
    """Cells in a block: twice the cube root of their number.

    The cube root is the order that minimises the error of a mean's variance; twice it makes the intervals of strongly
    correlated series less narrow than they should be, and costs nothing on independent ones.
    """
    return min(cells, math.ceil(round(2 * math.cbrt(cells), 9)))


def block_weights(cells: int, seed: int) -> Floats:
    """How often each of `cells` consecutive cells is drawn in each resample, (RESAMPLES, cells)."""
    length = block_length(cells)
    blocks = math.ceil(cells / length)
    # Raw bits, because numpy promises that a seed's bit stream never changes but not what Generator makes of it.
    draws = np.random.PCG64(seed).random_raw(RESAMPLES * blocks).reshape(RESAMPLES, blocks)
    starts = (draws % np.uint64(cells)).astype(np.int64)
    drawn = (starts[:, :, None] + np.arange(length)) % cells
    rows = np.arange(RESAMPLES)[:, None] * cells
    flat = (rows + drawn.reshape(RESAMPLES, -1)).ravel()
    return np.bincount(flat, minlength=RESAMPLES * cells).reshape(RESAMPLES, cells).astype(np.float64)


def expanded_tail(level: float, blocks: float) -> float:
    """Tail probability that gives a percentile bootstrap of few blocks the width of a t-interval.

    Hesterberg 2015, "What Teachers Should Know About the Bootstrap", The American Statistician 69(4).
    """
    quantile = t_quantile(blocks - 1, (1 - level) / 2)
    return normal_cdf(math.sqrt(blocks / (blocks - 1)) * quantile)


def share_of(chosen: int, n: int, level: float) -> Headline:
    """The share `chosen`/`n` of requests with its score interval (Wilson 1927, JASA 22, 209), never outside 0 … 1."""
    if n == 0:
        return absent("no request to count", level)
    z = normal_quantile((1 + level) / 2)
    share, spread = chosen / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    low = 0.0 if chosen == 0 else middle - half
    high = 1.0 if chosen == n else middle + half
    return Headline(share, low, high, level, WILSON, n, "measured")


def between_runs(values: Sequence[float], *, level: float, rate: bool, basis: Basis = "measured") -> Headline:
    """Mean of one number over independent runs with its t-interval; a rate is averaged as its logarithm."""
    n = len(values)
    if n == 0:
        return absent("no run has a value", level, basis=basis)
    if rate and min(values) <= 0:
        return absent("a run's rate is 0, which has no logarithm", level, n=n, basis=basis)
    method = BETWEEN_RUNS_LOG if rate else BETWEEN_RUNS
    xs = [math.log(value) for value in values] if rate else list(values)
    back = math.exp if rate else float
    mean = math.fsum(xs) / n
    if n == 1:
        return Headline(values[0], None, None, level, "one run: no interval between runs", n, basis)
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in xs) / (n - 1))
    half = -t_quantile(n - 1, (1 - level) / 2) * deviation / math.sqrt(n)
    return Headline(back(mean), back(mean - half), back(mean + half), level, method, n, basis)
