"""Headlines within one run and between several."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.records import Headline
from bench.metrics.statistics import (
    RESAMPLES,
    Confidence,
    absent,
    between_runs,
    block_length,
    block_weights,
    inverse,
    ratio,
    scaled,
)

CONFIDENCE = Confidence(level=0.95, seed=7)


def test_t_interval_between_runs_by_hand() -> None:
    """Mean of 1, 2, 3: s = 1, half width = 4.302653 · 1/√3."""
    found = between_runs([1.0, 2.0, 3.0], level=0.95, rate=False)
    assert found.value == 2.0
    assert found.low == pytest.approx(2 - 4.302652729749464 / math.sqrt(3))
    assert found.high == pytest.approx(2 + 4.302652729749464 / math.sqrt(3))


def test_rates_are_averaged_as_logarithms() -> None:
    found = between_runs([10.0, 1000.0], level=0.95, rate=True)
    assert found.value == pytest.approx(100.0)
    assert found.low is not None
    assert found.high is not None
    assert found.low * found.high == pytest.approx(100.0**2)


def test_no_interval_between_runs_from_one_or_none() -> None:
    assert between_runs([3.0], level=0.95, rate=True).value == 3.0
    assert between_runs([3.0], level=0.95, rate=True).low is None
    assert between_runs([], level=0.95, rate=False).value is None
    assert between_runs([1.0, 0.0], level=0.95, rate=True).value is None


def test_t_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(4)
    found = [between_runs(list(rng.normal(5, 1, 5)), level=0.95, rate=False) for _ in range(400)]
    covered = sum(h.low is not None and h.high is not None and h.low <= 5 <= h.high for h in found)
    assert 0.92 <= covered / 400 <= 0.98


@given(st.integers(1, 300), st.integers(0, 2**32))
def test_every_resample_draws_whole_blocks_of_neighbours(cells: int, seed: int) -> None:
    weights = block_weights(cells, seed)
    length = block_length(cells)
    assert weights.shape == (RESAMPLES, cells)
    assert set(weights.sum(axis=1)) == {math.ceil(cells / length) * length}


def test_the_bootstrap_is_the_seeds_alone() -> None:
    """A stored seed must mean the same draws on every machine and with every numpy."""
    assert [int(w) for w in block_weights(9, 7)[0]] == [2, 2, 1, 1, 0, 0, 1, 1, 2]


def test_ratio_is_of_sums_and_not_a_mean_of_ratios() -> None:
    found = ratio(np.array([1.0, 9.0] * 10), np.array([1.0, 1.0] * 10), CONFIDENCE)
    assert found.value == 5.0
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 5.0 <= found.high


def test_ratio_to_nothing_is_null() -> None:
    assert ratio(np.ones(5), np.zeros(5), CONFIDENCE).value is None


def test_too_short_for_an_interval() -> None:
    found = ratio(np.ones(7), np.ones(7), CONFIDENCE)
    assert (found.value, found.low, found.high) == (1.0, None, None)
    assert ratio(np.arange(8.0), np.ones(8), CONFIDENCE).low is not None


def test_inverse_turns_the_interval_round_and_null_stays_null() -> None:
    one = Headline(4.0, 2.0, 8.0, 0.95, "m", 3, "measured")
    assert inverse(one, 8.0) == Headline(2.0, 1.0, 4.0, 0.95, "m", 3, "measured")
    assert scaled(one, 0.5) == Headline(2.0, 1.0, 4.0, 0.95, "m", 3, "measured")
    assert inverse(absent("why", 0.95)) == absent("why", 0.95)
