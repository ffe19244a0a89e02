"""The comparison of `bench serve` with its engine: what its ratio means and what its table says."""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from typing import Any

import pytest

SERVED = Path(__file__).parents[1] / "benchmarks" / "served"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(SERVED)
    return importlib.import_module


def test_what_slows_both_of_a_round_is_not_in_the_ratio(module: Any) -> None:
    ratio = module("paired_ratio").paired_ratio([95.0, 9.5, 47.5], [100.0, 10.0, 50.0])
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.95, 0.95, 0.95))


def test_the_interval_is_students_of_the_logarithms(module: Any) -> None:
    ratio = module("paired_ratio").paired_ratio([1.0, 4.0], [1.0, 1.0])
    # Two logarithms, 0 and ln 4: their mean is ln 2, its standard error ln 2, and t of one degree of freedom 12.706.
    assert ratio.value == pytest.approx(2.0)
    assert ratio.high == pytest.approx(2.0 * 2.0**12.7062, rel=1e-4)
    assert ratio.low == pytest.approx(2.0 / 2.0**12.7062, rel=1e-4)


def test_one_round_is_never_certain(module: Any) -> None:
    ratio = module("paired_ratio").paired_ratio([99.0], [100.0])
    assert (ratio.value, ratio.low, ratio.high) == (pytest.approx(0.99), 0.0, math.inf)
    assert module("served_table").verdict(ratio) == "met, not certain"


@pytest.mark.parametrize(("over", "under"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0])])
def test_what_is_no_pair_of_rates_has_no_ratio(module: Any, over: list[float], under: list[float]) -> None:
    with pytest.raises(ValueError, match="positive rates"):
        module("paired_ratio").paired_ratio(over, under)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        ((0.99, 0.96, 1.02), "met"),
        ((0.97, 0.93, 1.01), "met, not certain"),
        ((0.94, 0.92, 0.96), "missed, not certain"),
        ((0.90, 0.88, 0.92), "missed"),
    ],
)
def test_the_verdict_says_how_certain_it_is(module: Any, ratio: tuple[float, ...], verdict: str) -> None:
    assert module("served_table").verdict(module("paired_ratio").Ratio(*ratio)) == verdict


def test_the_table_has_a_line_a_model_with_costs_in_microseconds(module: Any) -> None:
    table = module("served_table")
    rows = [
        table.Compared("small", [100.0, 200.0], [98.0, 196.0], [20e-6, 30e-6], [90e-6]),
        table.Compared("large", [10.0], [9.0], [1e-3], []),
    ]
    _, _, small, large = table.render(rows).splitlines()
    cells = ["small", "2", "150", "147", "0.980 (0.980 to 0.980)", "met", "25.0", "90.0"]
    assert small == f"| {' | '.join(cells)} |"
    assert large.endswith("| 1000.0 | not asked |")


def test_cpu_time_is_that_of_the_process(module: Any) -> None:
    own = os.times()
    assert module("streams").cpu_seconds(os.getpid()) >= own.user + own.system - 0.1
