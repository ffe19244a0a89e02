"""Energy of a window against hand-integrated readings."""

from __future__ import annotations

import numpy as np
import pytest

from bench.core.power_spec import DeclaredPower
from bench.core.records import PowerRow
from bench.core.units import NS_PER_S
from bench.metrics.energy import Energy, energy
from bench.metrics.power_readings import devices_of
from bench.metrics.statistics import Confidence
from bench.metrics.steady_state import Window
from bench.metrics.throughput import SLICES, TokenSlices
from bench.results.batches import table_of

WINDOW = Window(1 * NS_PER_S, 5 * NS_PER_S)
TOKENS = TokenSlices(
    seconds=np.full(SLICES, 4 / SLICES),
    output=np.full(SLICES, 200 / SLICES),
    answer=np.full(SLICES, 150 / SLICES),
    input=np.full(SLICES, 600 / SLICES),
    uncached_input=None,
)


def reading(
    t_s: float, watts: float | None = None, joules: float | None = None, *, scope: str = "gpu", device: str = "0"
) -> PowerRow:
    return PowerRow(round(t_s * NS_PER_S), scope, device, watts, joules)


def energy_of(
    *rows: PowerRow, declared: DeclaredPower | None = None, missing: str | None = None, start_ns: int = 0
) -> Energy:
    devices = devices_of(table_of("power", rows), start_ns=start_ns)
    return energy(devices, TOKENS, WINDOW, Confidence(0.95, 0), declared=declared, power_missing=missing)


def test_trapezoid_with_interpolated_edges() -> None:
    """Watts rise 100 → 300 over 0 … 2 s, then stay: over 1 … 5 s that is 250 · 1 + 300 · 3 J."""
    rung = energy_of(reading(0, 100), reading(2, 300), reading(4, 300), reading(6, 300)).rungs["gpu"]
    assert rung.source == "integral"
    assert rung.joules == pytest.approx(1150)
    assert rung.mean_watts == pytest.approx(287.5)
    assert rung.joules_per_output_token.value == pytest.approx(1150 / 200)
    assert rung.joules_per_total_token.value == pytest.approx(1150 / 800)
    assert rung.output_tokens_per_s_per_watt.value == pytest.approx(200 / 1150)
    assert rung.tokens_per_s_per_mw.value == pytest.approx(1e6 * 200 / 1150)
    assert rung.joules_per_output_token.basis == "measured"


def test_the_counter_is_preferred_and_checked() -> None:
    rows = [reading(t, 100, 1000 + 120 * t) for t in range(7)]
    rung = energy_of(*rows).rungs["gpu"]
    assert rung.source == "counter"
    assert rung.joules == pytest.approx(480)
    assert rung.counter_over_integral == pytest.approx(1.2)


def test_a_counter_that_stands_still_is_not_believed() -> None:
    rung = energy_of(*[reading(t, 100, 5.0) for t in range(7)]).rungs["gpu"]
    assert rung.source == "integral"
    assert rung.joules == pytest.approx(400)


def test_devices_of_a_scope_are_summed_and_scopes_are_not() -> None:
    gpus = [reading(t, 100 * (1 + d), device=str(d)) for t in range(7) for d in range(2)]
    node = [reading(t, 1000, scope="node") for t in range(7)]
    rungs = energy_of(*gpus, *node).rungs
    assert rungs["gpu"].joules == pytest.approx(1200)
    assert rungs["gpu"].devices == ("0", "1")
    assert rungs["node"].joules == pytest.approx(4000)


def test_times_are_taken_from_the_runs_start() -> None:
    start_ns = 10**15
    rows = [PowerRow(start_ns + t * NS_PER_S, "gpu", "0", 50.0, None) for t in range(7)]
    assert energy_of(*rows, start_ns=start_ns).rungs["gpu"].joules == pytest.approx(200)


@pytest.mark.parametrize(
    ("times", "why"),
    [([0, 1, 4.1, 5, 6], "gap of 3.1 s"), ([2, 3, 4, 5, 6], "do not enclose"), ([0, 1, 2, 3, 4], "do not enclose")],
)
def test_gaps_and_missing_edges_make_the_rung_null(times: list[float], why: str) -> None:
    rung = energy_of(*[reading(t, 100) for t in times]).rungs["gpu"]
    assert rung.joules is None
    assert rung.joules_per_output_token.value is None
    assert rung.reason is not None
    assert why in rung.reason


def test_a_gap_outside_the_window_is_harmless() -> None:
    assert energy_of(*[reading(t, 100) for t in (-9, 1, 3, 5, 15)]).rungs["gpu"].joules == pytest.approx(400)


def test_one_silent_device_makes_its_whole_scope_null() -> None:
    rows = [reading(t, 100) for t in range(7)] + [reading(t, None, device="1") for t in range(7)]
    rung = energy_of(*rows).rungs["gpu"]
    assert rung.joules is None
    assert rung.reason == "energy counter: not read; watts: not read"


def test_declared_watts_are_assumed_and_never_replace_a_reading() -> None:
    declared = DeclaredPower(scope="node", watts=350)
    rungs = energy_of(*[reading(t, 100) for t in range(7)], declared=declared).rungs
    assert rungs["node"].source == "declared"
    assert rungs["node"].joules == pytest.approx(1400)
    assert rungs["node"].joules_per_output_token.basis == "assumed"
    measured = energy_of(*[reading(t, 100, scope="node") for t in range(7)], declared=declared).rungs["node"]
    assert (measured.source, measured.joules) == ("integral", pytest.approx(400))


def test_nothing_read_is_null_with_the_reason_and_never_zero() -> None:
    assert energy_of(missing="RAPL is readable by root only") == Energy(missing="RAPL is readable by root only")
    assert energy_of().missing == "no power reading was logged"
