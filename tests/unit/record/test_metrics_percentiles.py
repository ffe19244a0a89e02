"""Percentiles: their definition, what n they need, and intervals that cover the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.percentiles import Sample, distribution, needed, rank_name
from bench.metrics.statistics import Confidence

CONFIDENCE = Confidence(level=0.95, seed=0)


@pytest.mark.parametrize(("p", "n"), [(0.5, 5), (0.9, 29), (0.95, 59), (0.99, 299)])
def test_least_n_of_a_percentile(p: float, n: int) -> None:
    assert needed(p, 0.95) == n


@given(st.floats(0.01, 0.999), st.floats(0.5, 0.999))
def test_least_n_is_the_least(p: float, level: float) -> None:
    n = needed(p, level)
    assert 1 - p**n >= level - 1e-9
    assert n == 1 or 1 - p ** (n - 1) < level + 1e-9


def test_values_are_numpys_and_the_mean_is_exact() -> None:
    values = np.array([0.1] * 10 + [1e16, 1.0, -1e16] + list(range(20)))
    found = distribution(Sample.of(values), (0.5, 0.9), CONFIDENCE).headlines
    assert found["mean"].value == math.fsum(values) / len(values)
    assert found["p50"].value == np.percentile(values, 50)
    assert found["p90"].value == np.percentile(values, 90)


def test_a_percentile_that_n_cannot_support_is_null_with_the_reason() -> None:
    found = distribution(Sample.of(np.arange(28.0)), (0.5, 0.9), CONFIDENCE).headlines
    assert found["p50"].value == 13.5
    assert found["p90"].value is None
    assert found["p90"].method == "p90 needs 29 observations, there are 28"


def test_undefined_values_are_counted_and_an_empty_sample_is_null() -> None:
    found = distribution(Sample.of(np.array([np.nan, 1.0, np.nan])), (0.5,), CONFIDENCE)
    assert (found.n, found.undefined) == (1, 2)
    empty = distribution(Sample.of(np.array([np.nan])), (0.5,), CONFIDENCE)
    assert empty.headlines["mean"].value is None
    assert empty.headlines["p50"].value is None


def test_rank_names() -> None:
    assert [rank_name(p) for p in (0.5, 0.95, 0.99, 0.999)] == ["p50", "p95", "p99", "p99.9"]


def test_pooled_values_are_resampled_by_their_request() -> None:
    """Gaps differ between requests but not within one: to resample each gap alone would claim too much certainty."""
    rng = np.random.default_rng(1)
    owner = np.repeat(np.arange(40), 100)
    values = rng.normal(size=40)[owner]
    pooled = distribution(Sample.pooled(values, owner, 41), (0.5,), CONFIDENCE)
    alone = distribution(Sample.of(values[::100]), (0.5,), CONFIDENCE)
    assert (pooled.n, pooled.undefined) == (4000, 1)
    width = {name: d.headlines["mean"].high - d.headlines["mean"].low for name, d in (("p", pooled), ("a", alone))}
    assert width["p"] == pytest.approx(width["a"])


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_intervals_cover_the_truth(correlation: float) -> None:
    rng = np.random.default_rng(2)
    truth = {"mean": math.exp(0.045), "p50": 1.0, "p90": math.exp(0.3 * 1.2815515655446004)}
    covered = dict.fromkeys(truth, 0)
    runs = 100
    for seed in range(runs):
        found = distribution(
            Sample.of(np.exp(0.3 * _autoregressive(rng, 300, correlation))), (0.5, 0.9), Confidence(0.95, seed)
        )
        for name, true in truth.items():
            one = found.headlines[name]
            assert one.low is not None
            assert one.high is not None
            covered[name] += one.low <= true <= one.high
    assert all(87 <= times <= 100 for times in covered.values()), covered


def test_a_large_sample_is_resolved_finely() -> None:
    values = np.random.default_rng(3).exponential(size=50_000)
    p99 = distribution(Sample.of(values), (0.99,), CONFIDENCE).headlines["p99"]
    assert p99.low is not None
    assert p99.high is not None
    assert p99.low < -math.log(0.01) < p99.high
    assert p99.high - p99.low < 0.4


def _autoregressive(rng: np.random.Generator, n: int, correlation: float) -> np.ndarray:
    noise = rng.normal(size=n + 50) * math.sqrt(1 - correlation**2)
    series = np.zeros(n + 50)
    for i in range(1, n + 50):
        series[i] = correlation * series[i - 1] + noise[i]
    return series[50:]
