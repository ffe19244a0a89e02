"""Drawing from quantile tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.workload.quantiles import Interpolation, QuantileTable

RANKS = st.lists(st.integers(0, 10**6).map(lambda millionths: millionths / 10**6), min_size=1, max_size=8, unique=True)
"""As finely told apart as any profile does."""


@st.composite
def tables(draw: st.DrawFn) -> QuantileTable:
    ranks = draw(RANKS)
    values = sorted(draw(st.lists(st.floats(1e-3, 1e6), min_size=len(ranks), max_size=len(ranks))))
    return QuantileTable.of(
        dict(zip(sorted(ranks), values, strict=True)), draw(st.sampled_from(["log", "linear", "steps"]))
    )


@given(tables(), st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_a_higher_rank_never_has_a_lower_value_and_none_leaves_the_table(
    table: QuantileTable, ranks: list[float]
) -> None:
    values = table.at(np.array(sorted(ranks)))
    assert np.all(np.diff(values) >= -1e-9 * values[:-1])
    assert values.min() >= table.values[0] * (1 - 1e-9)
    assert values.max() <= table.values[-1] * (1 + 1e-9)


@given(tables())
def test_the_table_passes_through_its_own_points(table: QuantileTable) -> None:
    assert table.at(np.array(table.ranks)) == pytest.approx(table.values)


def test_log_interpolation_is_geometric_and_linear_is_not() -> None:
    middle = np.array([0.5])
    assert QuantileTable.of({0: 1, 1: 100}, "log").at(middle) == pytest.approx([10.0])
    assert QuantileTable.of({0: 1, 1: 100}, "linear").at(middle) == pytest.approx([50.5])


def test_steps_have_no_values_but_their_own() -> None:
    turns = QuantileTable.of({0.75: 1, 0.9: 2, 1.0: 7}, "steps")
    assert turns.at(np.array([0.0, 0.75, 0.7501, 0.9, 0.95, 1.0])).tolist() == [1, 1, 2, 2, 7, 7]


def test_counts_are_whole_and_at_least_one() -> None:
    counts = QuantileTable.of({0: 0.01, 1: 20}).sample_counts(np.random.default_rng(0), 500)
    assert counts.min() == 1
    assert counts.max() <= 20


@pytest.mark.parametrize(
    ("quantiles", "interpolation", "allowed"),
    [
        ({}, "log", "one quantile"),
        ({0.1: 5, 0.9: 4}, "log", "never fall"),
        ({-0.1: 1, 0.5: 2}, "linear", "ranks from 0 to 1"),
        ({0.5: 1, 1.5: 2}, "linear", "ranks from 0 to 1"),
        ({0.0: 0, 1.0: 2}, "log", "above 0"),
        ({0.0: -1, 1.0: 2}, "linear", "0 or more"),
    ],
)
def test_what_is_no_distribution_is_refused(
    quantiles: dict[float, float], interpolation: Interpolation, allowed: str
) -> None:
    with pytest.raises(ValueError, match=allowed):
        QuantileTable.of(quantiles, interpolation)
