"""What grew or fell throughout a window is found, and what was only restless is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.core.spec import ClosedLoadSpec, ConstantLoadSpec
from bench.core.units import NS_PER_S
from bench.metrics.drift import BLOCKS, drifts, trend
from bench.metrics.health_series import Series
from bench.metrics.steady_state import Window
from bench.metrics.throughput import SLICES, TokenSlices

CLOSED = ClosedLoadSpec(kind="closed", concurrency=4)


def tokens(output: np.ndarray[tuple[int], np.dtype[np.float64]]) -> TokenSlices:
    return TokenSlices(np.ones(SLICES), output, output, output, None)


def test_a_straight_line_is_told_exactly() -> None:
    line = trend(np.arange(100.0, 100.0 + BLOCKS))
    assert line.value == pytest.approx(BLOCKS / (100 + (BLOCKS - 1) / 2))
    assert line.low == line.high == line.value
    assert trend(np.full(BLOCKS, 7.0)).value == 0.0


def test_a_block_that_stands_out_hardly_moves_it() -> None:
    line = np.arange(100.0, 100.0 + BLOCKS)
    line[-1] = 0.0
    assert trend(line).value == pytest.approx(BLOCKS / 111.5, rel=0.05)


@pytest.mark.parametrize(("correlation", "held"), [(0.0, 0.98), (0.5, 0.97), (0.8, 0.95)])
def test_unrest_is_rarely_taken_for_a_drift(correlation: float, held: float) -> None:
    found, without = 0, 0
    for seed in range(300):
        chance = np.random.default_rng(seed).normal(0, 0.05, BLOCKS)
        for i in range(1, BLOCKS):
            chance[i] = correlation * chance[i - 1] + math.sqrt(1 - correlation**2) * chance[i]
        change = trend(100 * (1 + chance))
        assert change.low is not None
        assert change.high is not None
        found += change.low > 0.05 or change.high < -0.05
        without += change.low <= 0 <= change.high
    assert found <= 6  # 2 %
    assert without >= held * 300


def test_a_fall_by_a_fifth_is_found_in_less_unrest_nearly_always() -> None:
    found = 0
    for seed in range(100):
        unrest = np.random.default_rng(seed).normal(0, 0.02, BLOCKS)
        change = trend(100 * (1 + unrest) * np.linspace(1.1, 0.9, BLOCKS))
        assert change.high is not None
        found += change.high < -0.05
    assert found >= 97


def test_clocks_and_tokens_are_told_by_name() -> None:
    t = np.arange(121.0) * NS_PER_S
    clocks = {"gpu0.sm_clock_mhz": Series(t, 1980.0 - t / NS_PER_S)}
    window = Window(0.0, 120.0 * NS_PER_S)
    clocks["gpu1.sm_clock_mhz"] = Series(t, np.where(t > 60 * NS_PER_S, np.nan, 1980.0))
    found = drifts(tokens(np.full(SLICES, 50.0)), clocks, window, CLOSED)
    assert set(found) == {"output_tokens_per_s", *clocks}
    assert found["output_tokens_per_s"].value == 0.0
    assert found["gpu0.sm_clock_mhz"].value == pytest.approx(-120 / 1920, rel=0.01)
    assert found["gpu1.sm_clock_mhz"].value is None


def test_short_windows_idle_ones_and_open_loops_say_why_they_tell_nothing() -> None:
    minute = Window(0.0, 60.0 * NS_PER_S)
    steady = tokens(np.full(SLICES, 50.0))
    assert "too short" in drifts(steady, {}, Window(0.0, 59.0 * NS_PER_S), CLOSED)["output_tokens_per_s"].method
    idle = drifts(tokens(np.zeros(SLICES)), {}, minute, CLOSED)["output_tokens_per_s"]
    assert (idle.value, idle.method) == (None, "half of the window had none")
    arrivals = ConstantLoadSpec(kind="constant", sessions_per_s=2)
    assert "what arrives sets it" in drifts(steady, {}, minute, arrivals)["output_tokens_per_s"].method
