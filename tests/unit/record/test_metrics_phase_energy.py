"""Energy by phase against engines whose costs are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from phased_engine import Costs, Served, agents
from power_signals import averaged, counter, every, rows

from bench.core.power_spec import PowerSpec
from bench.core.units import NS_PER_S
from bench.metrics.columns import TurnColumns
from bench.metrics.context import RunContext
from bench.metrics.energy import energy
from bench.metrics.phase_energy import LEAST_CELLS, PHASES, PhaseEnergy
from bench.metrics.phase_work import PhaseWork
from bench.metrics.power_readings import devices_of
from bench.metrics.rung import Served as ServedTokens
from bench.metrics.statistics import Confidence
from bench.metrics.steady_state import Window
from bench.metrics.throughput import SLICES, TokenSlices
from bench.results.batches import table_of

WINDOW = Window(1 * NS_PER_S, 60 * NS_PER_S)
OUTPUT = 6000


def phases_of(
    served: Served,
    *,
    window: Window = WINDOW,
    interval_s: float = 0.1,
    refreshed_s: float = 0.0,
    watts: bool = False,
    logged: bool = True,
) -> PhaseEnergy:
    times = every(interval_s, until_s=served.until_s)
    power = served.power
    joules = counter(power, times, refreshed_s=refreshed_s)
    table = rows(times, averaged(power, times)) if watts else rows(times, None, joules)
    per_slice = np.full(SLICES, OUTPUT / SLICES)
    seconds = np.full(SLICES, window.seconds / SLICES)
    tokens = ServedTokens(
        window, TokenSlices(seconds, per_slice, per_slice, per_slice, None), None, Confidence(0.95, 0)
    )
    turns = TurnColumns.of(table_of("turns", served.turn_rows), start_ns=0)
    work = PhaseWork.of(table_of("steps", served.step_rows if logged else []), turns, start_ns=0)
    context = RunContext(0, round(served.until_s * NS_PER_S), 1)
    found = energy(devices_of(table_of("power", table), start_ns=0), tokens, PowerSpec(), context, work)
    rung, phases = found.rungs["gpu"], found.phases["gpu"]
    if phases.reason is None:
        assert rung.joules is not None
        assert phases.unexplained_joules is not None
        assert phases.error_joules is not None
        parts = math.fsum(headline.value or 0.0 for headline in phases.joules.values())
        assert parts + phases.unexplained_joules == pytest.approx(rung.joules, rel=1e-12)
        assert abs(phases.unexplained_joules) <= phases.error_joules
    return phases


def truth(served: Served, window: Window = WINDOW) -> dict[str, float]:
    """Joules of the steps that lie in the window, a step it cuts counted by its share."""
    joules = dict.fromkeys(("prefill", "decode"), 0.0)
    for row in served.step_rows:
        begin, end = max(row.t_ns, window.start_ns), min(row.t_ns + row.duration_ns, window.end_ns)
        share = max(0.0, end - begin) / row.duration_ns
        joules["prefill"] += share * served.costs.prefill_token * row.prefill_tokens
        joules["decode"] += share * served.costs.decode_token * row.decode_tokens
        joules["decode" if row.decode_tokens else "prefill"] += share * served.costs.step
    return joules


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_what_every_phase_took_is_found_again(seed: int, mixed: bool) -> None:
    served = agents(seed, mixed=mixed)
    found, true = phases_of(served), truth(served)
    assert found.reason is None
    assert found.idle_s is not None
    assert found.tool_wait_s is not None
    assert min(found.idle_s, found.tool_wait_s) > 1
    rest = served.costs.rest_watts
    known = {**true, "idle": rest * found.idle_s, "tool_wait": rest * found.tool_wait_s}
    for phase in PHASES:
        assert found.joules[phase].value == pytest.approx(known[phase], rel=0.01)
        assert found.joules[phase].basis == "projected"
    assert (found.steps["mixed"] > 0) == mixed
    assert (found.steps["prefill"] > 0) != mixed


@pytest.mark.parametrize("mixed", [False, True])
def test_joules_per_token_are_found_again(mixed: bool) -> None:
    """Where a step costs nothing by itself, j_in and j_out are those of a token."""
    served = agents(1, mixed=mixed, costs=Costs(step=0.0, prefill_token=0.03, decode_token=0.25))
    found = phases_of(served)
    assert found.reason is None
    assert found.joules_per_uncached_input_token.value == pytest.approx(0.03, rel=0.01)
    decoded = truth(served)["decode"] / 0.25
    assert found.joules_per_output_token.value == pytest.approx(0.25 * decoded / OUTPUT, rel=0.01)
    assert found.output_tokens == pytest.approx(OUTPUT)


def test_steps_whose_number_follows_from_their_tokens_are_no_obstacle() -> None:
    served = agents(2, batch=(16, 16))
    found, true = phases_of(served), truth(served)
    assert found.reason is None
    assert found.joules["decode"].value == pytest.approx(true["decode"], rel=0.01)
    assert found.joules["prefill"].value == pytest.approx(true["prefill"], rel=0.01)


def test_a_meter_that_is_not_exact_leaves_the_truth_within_the_interval() -> None:
    held = 0
    for seed in range(6):
        served = agents(seed, mixed=True, seconds=122)
        window = Window(1 * NS_PER_S, 120 * NS_PER_S)
        found, true = phases_of(served, window=window, interval_s=0.23), truth(served, window)
        assert found.reason is None
        for phase, joules in true.items():
            headline = found.joules[phase]
            assert headline.value == pytest.approx(joules, rel=0.05)
            assert headline.low is not None
            assert headline.high is not None
            held += headline.low <= joules <= headline.high
    assert held >= 9  # of 12, at a level of 0.95 and with blur beside noise


def test_the_resolution_is_stated() -> None:
    resolution = phases_of(agents(0)).resolution
    assert resolution is not None
    assert resolution.reading_s == pytest.approx(0.1)
    assert resolution.step_s == pytest.approx(0.0105, abs=0.002)
    assert (resolution.cells, resolution.cell_s) == (59, pytest.approx(1.0))


def test_decode_alone_is_measured() -> None:
    served = Served(Costs())
    while served.until_s < 12:
        served.step(0, 16)
    served.turn(0.0)
    window = Window(1 * NS_PER_S, 11 * NS_PER_S)
    found = phases_of(served, window=window, interval_s=0.02)
    assert found.reason is None
    assert found.joules["decode"].basis == "measured"
    assert found.joules["decode"].value == pytest.approx(truth(served, window)["decode"], rel=1e-3)
    assert [found.joules[phase].value for phase in ("prefill", "idle", "tool_wait")] == [0, 0, 0]
    assert found.joules_per_uncached_input_token.value is None


def test_rest_too_short_to_tell_is_counted_with_the_rest_of_it() -> None:
    served = Served(Costs())
    while served.until_s < 30:
        served.step(0, 16)
    served.turn(0.0)
    served.rest(0.2)
    middle = served.until_s
    while served.until_s < 62:
        served.step(0, 16)
    served.turn(middle)
    found = phases_of(served)
    assert found.joules["decode"].value is not None
    assert found.joules["idle"].value is None
    assert "at rest for 0.2 s" in found.joules["idle"].method


@pytest.mark.parametrize(
    ("why", "refreshed_s", "logged"),
    [("the engine logs no steps", 0.0, False), (f"fewer than {LEAST_CELLS}", 0.4, True)],
)
def test_what_cannot_be_told_is_null_with_the_reason(why: str, refreshed_s: float, logged: bool) -> None:
    found = phases_of(agents(0), refreshed_s=refreshed_s, logged=logged)
    assert found.reason is not None
    assert why in found.reason
    assert {headline.value for headline in found.joules.values()} == {None}
    assert found.unexplained_joules is None


def test_phases_that_go_together_are_refused() -> None:
    """Every step computes 64 tokens of a prompt and 16 of outputs: nothing tells their costs apart."""
    served = Served(Costs())
    while served.until_s < 62:
        served.step(64, 16)
    served.turn(0.0)
    reason = phases_of(served).reason
    assert reason is not None
    assert "cannot be told apart" in reason


def test_watts_that_may_be_averages_are_laid_in_longer_cells_and_tell_less() -> None:
    found = phases_of(agents(3, seconds=400, mixed=True), window=Window(1 * NS_PER_S, 399 * NS_PER_S), watts=True)
    assert found.resolution is not None
    assert found.resolution.cell_s >= 10
    assert found.reason is not None
    assert "of the energy only" in found.reason
