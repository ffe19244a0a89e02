"""The distribution of a sample of times: mean and percentiles with intervals, none that n cannot support."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.records import Basis, Headline
from bench.metrics.columns import Floats, Ints
from bench.metrics.statistics import Confidence, absent, block_weights, headline

CELLS = 256
"""Most groups of consecutive requests that are resampled; below that each request is its own."""
BINS = 1024
"""Ranks a resampled percentile is resolved to; a smaller sample is resolved to its own values."""


@dataclass(frozen=True)
class Sample:
    """Values of requests in time order. A request may own several (the gaps between its tokens) or none."""

    values: Floats
    """(n,), no NaN."""
    owner: Ints
    """Number of the request each value belongs to, ascending, (n,)."""
    undefined: int
    """Requests for which the value does not exist."""

    @classmethod
    def of(cls, values: Floats) -> Sample:
        """One value a request; NaN where it is undefined."""
        defined = values[~np.isnan(values)]
        return cls(defined, np.arange(len(defined)), len(values) - len(defined))

    @classmethod
    def pooled(cls, values: Floats, owner: Ints, requests: int) -> Sample:
        """Several values a request, all of equal weight, of `requests` requests."""
        owners, renumbered = np.unique(owner, return_inverse=True)
        return cls(values, renumbered.astype(np.int64), requests - len(owners))


@dataclass(frozen=True)
class Distribution:
    """`mean` and one headline a rank, keyed `p50`, `p99.9`."""

    n: int
    undefined: int
    """Requests left out because the time does not exist for them."""
    headlines: dict[str, Headline]


def distribution(
    sample: Sample, ranks: Sequence[float], confidence: Confidence, *, basis: Basis = "measured"
) -> Distribution:
    """Mean and percentiles of `sample` at `ranks` (each in 0 … 1), with within-run intervals.

    A percentile is linear between order statistics, as numpy's default. One that n cannot support (`needed`) is null.
    """
    n, level = len(sample.values), confidence.level
    if n == 0:
        nothing = absent("no request has this time", level, basis=basis)
        return Distribution(0, sample.undefined, {"mean": nothing} | {rank_name(p): nothing for p in ranks})
    cells = _cells(sample)
    count = int(cells[-1]) + 1
    weights = block_weights(count, confidence.seed)
    sums = weights @ np.bincount(cells, weights=sample.values, minlength=count)
    means = sums / (weights @ np.bincount(cells, minlength=count))
    mean = math.fsum(sample.values) / n
    headlines = {"mean": headline(mean, means, cells=count, level=level, n=n, basis=basis)}
    resampled = resampled_percentiles(sample.values, cells, weights, ranks)
    for p, column in zip(ranks, resampled, strict=True):
        if n < needed(p, level):
            reason = f"{rank_name(p)} needs {needed(p, level)} observations, there are {n}"
            headlines[rank_name(p)] = absent(reason, level, n=n, basis=basis)
        else:
            value = float(np.quantile(sample.values, p))
            headlines[rank_name(p)] = headline(value, column, cells=count, level=level, n=n, basis=basis)
    return Distribution(n, sample.undefined, headlines)


def needed(p: float, level: float) -> int:
    """Least n whose largest value lies above the p-quantile with probability `level`: 1 − pⁿ ≥ level."""
    return math.ceil(round(math.log(1 - level) / math.log(p), 9))


def rank_name(p: float) -> str:
    """0.5 → `p50`, 0.999 → `p99.9`."""
    return f"p{100 * p:g}"


def _cells(sample: Sample) -> Ints:
    """Group of consecutive requests each value is resampled with, (n,)."""
    requests = int(sample.owner[-1]) + 1
    return sample.owner * min(CELLS, requests) // requests


def resampled_percentiles(values: Floats, cells: Ints, weights: Floats, ranks: Sequence[float]) -> list[Floats]:
    """Percentiles of each resample, (resamples,) for each rank, by counting values in bins of about equal weight.

    A value counts as often as its cell was drawn: `values` and `cells` (n,), `weights` (resamples, cells).
    """
    grid = np.linspace(0, 1, BINS + 1)[1:] if len(values) > BINS else np.array([])
    edges = np.unique(np.quantile(values, grid, method="inverted_cdf") if len(grid) else values)
    bins = np.searchsorted(edges, values)
    shape = (weights.shape[1], len(edges))
    counts = np.bincount(cells * len(edges) + bins, minlength=shape[0] * shape[1]).reshape(shape)
    below = np.cumsum(weights @ counts, axis=1)
    return [edges[(below < p * below[:, -1:]).sum(axis=1)] for p in ranks]
