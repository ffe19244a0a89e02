"""Slopes and level shifts: found where they are, and not found in noise that resembles itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from bench.metrics.change_points import LEAST_VALUES, MOST_VALUES, level_shifts
from bench.metrics.constancy import constancy, trend_per_hour
from bench.metrics.statistics import Confidence

SEED = 20261123
COUNTS = (30, 60, 120)
SLOW = pytest.mark.slow


def autoregressive(rng: np.random.Generator, n: int, *, rho: float, draw: Callable[[int], Any] | None = None) -> Any:
    """Values of deviation 1 that each keep `rho` of the one before, (n,)."""
    drawn = (draw or rng.standard_normal)(n + 200) * np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], drawn)[200:]


def noise(rng: np.random.Generator, n: int, *, rho: float, share: float = 0.01) -> Any:
    """A figure of 100 with autocorrelated noise of that share, (n,)."""
    return 100 * (1 + share * autoregressive(rng, n, rho=rho))


def heavy_tailed(rng: np.random.Generator, n: int) -> Any:
    """Student's t of 3 degrees under an autocorrelation of 0.5, (n,)."""
    return autoregressive(rng, n, rho=0.5, draw=lambda number: rng.standard_t(3, number) / np.sqrt(3))


def wandering(rng: np.random.Generator, n: int) -> Any:
    """As much slow wander as white noise over it, (n,): what a machine's temperature and a load's luck come to."""
    wander = lfilter([1.0], [1.0, -0.8], rng.normal(size=n + 200))[200:] * 0.6
    return 0.7 * (wander + rng.normal(size=n))


KINDS: dict[str, tuple[int, Callable[[np.random.Generator, int], Any]]] = {
    "0.6": (2, partial(autoregressive, rho=0.6)),
    "0.7": (3, partial(autoregressive, rho=0.7)),
    "heavy tails": (5, heavy_tailed),
    "wander": (6, wandering),
}
"""Each with its place in the table of `bench.metrics.change_points`."""


@pytest.mark.parametrize(
    ("kind", "n", "told"),
    [
        ("0.6", 60, 6),
        pytest.param("0.7", 120, 9, marks=SLOW),
        pytest.param("heavy tails", 120, 8, marks=SLOW),
        pytest.param("wander", 120, 12, marks=SLOW),
    ],
)
def test_noise_alone_shifts_as_seldom_as_is_told(kind: str, n: int, told: int) -> None:
    """The series of the table: another machine's rounding may change a few."""
    place, draw = KINDS[kind]
    rng = np.random.default_rng([SEED, 1, place, COUNTS.index(n)])
    alarms = sum(bool(level_shifts(100 + draw(rng, n), level=0.95, seed=1000 + i).found) for i in range(200))
    assert abs(alarms - told) <= 2


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "place", "n", "told"), [(0.0, 0, 60, 171), (0.5, 2, 120, 185)])
def test_a_shift_of_three_percent_is_found_as_often_as_is_told(rho: float, place: int, n: int, told: int) -> None:
    """The series of the second table, noise of 1 %: found is within a twentieth of their length."""
    rng = np.random.default_rng([SEED, 2, place, COUNTS.index(n)])
    found = 0
    for i in range(200):
        series = noise(rng, n, rho=rho)
        series[n // 2 :] *= 0.97
        shifts = level_shifts(series, level=0.95, seed=1000 + i).found
        found += any(abs(shift.at - n // 2) <= n // 20 for shift in shifts)
    assert abs(found - told) <= 2


def test_a_dip_is_two_shifts() -> None:
    series = noise(np.random.default_rng(3), 90, rho=0.3)
    series[30:60] *= 0.95
    down, up = level_shifts(series, level=0.95, seed=0).found
    assert (down.at, up.at) == (30, 60)
    assert down.after / down.before == pytest.approx(0.95, abs=0.01)
    assert up.before == down.after


def test_a_ramp_is_a_trend_and_no_shift() -> None:
    """Of 6 % in noise of 1 %, 30 times. Where a cut explains something, a line does so better."""
    rng = np.random.default_rng(4)
    told = [level_shifts(noise(rng, 90, rho=0.0) * np.linspace(1, 0.94, 90), level=0.95, seed=0) for _ in range(30)]
    assert sum(bool(one.found) for one in told) <= 3


def test_a_line_that_explains_more_is_told() -> None:
    rng = np.random.default_rng(2)
    told = [level_shifts(noise(rng, 200, rho=0.0) * np.linspace(1, 0.97, 200), level=0.95, seed=0) for _ in range(8)]
    assert not any(one.found for one in told)
    assert any("it has a trend" in (one.reason or "") for one in told)


def test_one_outlier_is_no_shift() -> None:
    series = noise(np.random.default_rng(5), 60, rho=0.0)
    series[40] *= 0.5
    assert level_shifts(series, level=0.95, seed=0).found == ()


def test_series_too_short_constant_and_long() -> None:
    short = level_shifts([1.0] * (LEAST_VALUES - 1), level=0.95, seed=0)
    assert (short.found, short.tested) == ((), False)
    assert level_shifts([1.0] * 50, level=0.95, seed=0).found == ()
    steps = level_shifts([1.0] * 50 + [2.0] * 50, level=0.95, seed=0)
    assert [(shift.at, shift.before, shift.after) for shift in steps.found] == [(50, 1.0, 2.0)]
    n = 4 * MOST_VALUES + 3
    series = noise(np.random.default_rng(6), n, rho=0.3)
    series[n // 2 :] *= 1.03
    (shift,) = level_shifts(series, level=0.95, seed=0).found
    assert shift.at == pytest.approx(n // 2, abs=16)


def test_the_same_seed_finds_the_same() -> None:
    series = noise(np.random.default_rng(8), 60, rho=0.6)
    assert level_shifts(series, level=0.95, seed=3) == level_shifts(series, level=0.95, seed=3)


@pytest.mark.parametrize(("n", "rho"), [(20, 0.0), (60, 0.5), (120, 0.6)])
def test_a_slope_lies_in_its_interval_as_often_as_that_says(n: int, rho: float) -> None:
    """2 % over the whole, 300 series: 0.92 is two deviations below 0.95."""
    rng = np.random.default_rng(13)
    hours = [i / 60 for i in range(n)]
    true = -2 / (n / 60)
    held = 0
    for _ in range(300):
        told = trend_per_hour(hours, noise(rng, n, rho=rho) + true * np.array(hours), level=0.95)
        assert told.low is not None
        assert told.high is not None
        held += told.low <= true <= told.high
    assert held / 300 >= 0.92


def test_a_slope_needs_values_at_several_times() -> None:
    assert trend_per_hour([0.0, 1.0], [1.0, 2.0], level=0.95).value is None
    assert trend_per_hour([1.0] * 12, [1.0] * 12, level=0.95).value is None


def test_what_moved_is_what_is_neither_noise_nor_small() -> None:
    confidence = Confidence(0.95, 0)
    rng = np.random.default_rng(9)
    hours = list(np.arange(120) / 60)
    still = constancy(hours, list(noise(rng, 120, rho=0.2, share=0.002)), confidence)
    assert (still.moved, still.undecided) == ([], None)
    sagging = constancy(hours, list(noise(rng, 120, rho=0.2) * np.linspace(1, 0.95, 120)), confidence)
    assert sagging.moved[-1].endswith("% an hour")
    little = constancy(hours, list(noise(rng, 120, rho=0.0, share=0.0005) * np.linspace(1, 0.996, 120)), confidence)
    assert little.trend_share_per_hour.high is not None
    assert little.trend_share_per_hour.high < 0
    assert little.moved == []
    noisy = constancy(hours, list(noise(rng, 120, rho=0.0, share=0.2)), confidence)
    assert noisy.moved == []
    assert noisy.undecided is not None
    assert constancy([0.0], [5.0], confidence).undecided is not None
