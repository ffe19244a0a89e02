"""The energy ladder of a window against hand-integrated readings."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from bench.core.power_figures import PowerFigures, PublishedWatts
from bench.core.power_spec import PowerSpec
from bench.core.records import PowerRow
from bench.core.units import NS_PER_S
from bench.metrics.context import RunContext
from bench.metrics.energy import Energy, energy
from bench.metrics.power_facts import IdlePeriod, PowerFacts
from bench.metrics.power_readings import devices_of
from bench.metrics.rung import PUBLISHED_BOUNDS, Rung, Served
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
SHEET = PowerFigures(
    datasheet="made-up",
    tdp_w=700,
    node=PublishedWatts(1200, 1200, "published", "a datasheet"),
    rack=PublishedWatts(1500, 1700, "published", "two sources"),
)


def reading(
    t_s: float, watts: float | None = None, joules: float | None = None, *, scope: str = "gpu", device: str = "0"
) -> PowerRow:
    return PowerRow(round(t_s * NS_PER_S), scope, device, watts, joules)


def even(watts: float = 100, joules_per_s: float | None = None, **of: Any) -> list[PowerRow]:
    """A reading each second from 0 to 6."""
    return [reading(t, watts, None if joules_per_s is None else 1000 + joules_per_s * t, **of) for t in range(7)]


def energy_of(
    *rows: PowerRow,
    missing: str | None = None,
    start_ns: int = 0,
    facts: PowerFacts | None = None,
    accelerators: int = 1,
    correct: int | None = None,
    **power: Any,
) -> Energy:
    context = RunContext(start_ns, start_ns + 6 * NS_PER_S, accelerators, power_missing=missing, power=facts)
    answers = None if correct is None else np.full(SLICES, correct / SLICES)
    served = Served(WINDOW, TOKENS, answers, Confidence(0.95, 0))
    devices = devices_of(table_of("power", rows), start_ns=start_ns)
    return energy(devices, served, PowerSpec.model_validate(power), context, None)


def reason(rung: Rung) -> str:
    assert rung.joules is None
    assert rung.joules_per_output_token.value is None
    assert rung.reason is not None
    return rung.reason


def test_trapezoid_with_interpolated_edges() -> None:
    """Watts rise by 2 a second from 300: over 1 … 5 s that is 306 · 4 J."""
    rung = energy_of(*[reading(t, 300 + 2 * t) for t in (0, 2, 4, 6)]).rungs["gpu"]
    assert rung.source == "integral"
    assert rung.joules == pytest.approx(1224)
    assert rung.mean_watts == pytest.approx(306)
    assert rung.joules_per_output_token.value == pytest.approx(1224 / 200)
    assert rung.joules_per_total_token.value == pytest.approx(1224 / 800)
    assert rung.output_tokens_per_s_per_watt.value == pytest.approx(200 / 1224)
    assert rung.tokens_per_s_per_mw.value == pytest.approx(1e6 * 200 / 1224)
    assert rung.joules_per_output_token.basis == "measured"
    assert rung.error is not None
    assert 0 < rung.error < 0.005
    assert rung.unchecked == "energy counter: not read"


def test_the_counter_is_preferred_and_checked() -> None:
    rung = energy_of(*[reading(t / 100, 100 + t % 2, 1000 + 1.1 * t) for t in range(601)]).rungs["gpu"]
    assert rung.source == "counter"
    assert rung.joules == pytest.approx(440)
    assert rung.error == pytest.approx(0.01 / 4)  # what is up to a reading old, of 4 s
    assert rung.counter_over_integral == pytest.approx(110 / 100.5, rel=1e-4)
    assert rung.unchecked is None


def test_a_counter_read_too_seldom_for_its_window_is_held_against_the_watts_that_stand() -> None:
    rung = energy_of(*even(100, 110)).rungs["gpu"]
    assert (rung.source, rung.joules) == ("integral", pytest.approx(400))
    assert rung.counter_over_integral == pytest.approx(1.1)


def test_a_counter_that_is_known_to_be_fresh_may_be_read_less_often() -> None:
    rows = [reading(t / 10, None, 1000 + 11 * t, scope="cpu") for t in range(61)]
    rung = energy_of(*rows).rungs["cpu"]
    assert (rung.source, rung.joules) == ("counter", pytest.approx(440))
    assert "uncertain" in reason(energy_of(*[replace(row, scope="gpu") for row in rows]).rungs["gpu"])


def test_far_apart_neither_is_trusted_and_both_are_told() -> None:
    rung = energy_of(*even(100, 120)).rungs["gpu"]
    assert reason(rung) == "0 used 480 J by its energy counter, 400 J by its watts: over 15% apart, neither is trusted"
    assert rung.counter_over_integral == pytest.approx(1.2)


def test_one_device_far_apart_among_many_is_found() -> None:
    rows = [row for d in range(8) for row in even(100, 120 if d == 5 else 100, device=str(d))]
    assert reason(energy_of(*rows).rungs["gpu"]).startswith("5 used 480 J")


def test_a_counter_that_stands_still_is_not_believed() -> None:
    rung = energy_of(*even(100, 0)).rungs["gpu"]
    assert rung.source == "integral"
    assert rung.joules == pytest.approx(400)


def test_devices_of_a_scope_are_summed_and_scopes_are_not() -> None:
    gpus = [row for d in range(2) for row in even(100 * (1 + d), device=str(d))]
    rungs = energy_of(*gpus, *even(1000, scope="node")).rungs
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
    assert why in reason(energy_of(*[reading(t, 100) for t in times]).rungs["gpu"])


def test_a_gap_outside_the_window_is_harmless() -> None:
    assert energy_of(*[reading(t, 100) for t in (-9, 1, 3, 5, 15)]).rungs["gpu"].joules == pytest.approx(400)


def test_one_silent_device_makes_its_whole_scope_null() -> None:
    rows = even() + [reading(t, None, device="1") for t in range(7)]
    assert reason(energy_of(*rows).rungs["gpu"]) == "energy counter: 0: not read; watts: 1: not read"


def test_declared_watts_are_assumed_and_never_replace_a_reading() -> None:
    declared = {"scope": "node", "watts": 350}
    rungs = energy_of(*even(), **declared).rungs
    assert rungs["node"].source == "declared"
    assert rungs["node"].joules == pytest.approx(1400)
    assert rungs["node"].joules_per_output_token.basis == "assumed"
    measured = energy_of(*even(scope="node"), **declared).rungs["node"]
    assert (measured.source, measured.joules) == ("integral", pytest.approx(400))


def test_nothing_read_is_null_with_the_reason_and_never_zero() -> None:
    assert energy_of(missing="RAPL is readable by root only") == Energy(missing="RAPL is readable by root only")
    assert energy_of().missing == "no power reading was logged"


def test_node_and_rack_are_modelled_from_what_the_gpus_used_and_the_datasheet() -> None:
    """Of 1,200 W published for an accelerator's share of the node, 700 W are its own TDP."""
    rows = [row for d in range(2) for row in even(300, device=str(d))]
    rungs = energy_of(*rows, facts=PowerFacts(SHEET), accelerators=2).rungs
    assert rungs["node"].source == "modelled"
    assert rungs["node"].joules == pytest.approx(4 * 2 * (300 + 500))
    assert rungs["node"].joules_per_output_token.basis == "projected"
    assert rungs["node"].model is not None
    assert rungs["node"].model.startswith("gpu + 500 W an accelerator")
    rack = rungs["rack"].joules_per_output_token
    assert rungs["rack"].joules == pytest.approx(4 * 2 * (300 + 900))
    assert (rack.low, rack.high) == (pytest.approx(4 * 2 * 1100 / 200), pytest.approx(4 * 2 * 1300 / 200))
    assert rack.method == PUBLISHED_BOUNDS
    assert "facility" not in rungs


def test_the_facility_is_what_stands_below_it_times_a_declared_pue() -> None:
    found = energy_of(*even(300), facts=PowerFacts(SHEET), pue=1.2).rungs
    assert found["rack"].joules is not None
    assert found["facility"].joules == pytest.approx(1.2 * found["rack"].joules)
    assert found["facility"].model == "rack · declared PUE of 1.2"
    node = energy_of(*even(300, scope="node"), pue=1.5).rungs["facility"]
    assert (node.joules, node.joules_per_output_token.basis) == (pytest.approx(1800), "projected")
    declared = energy_of(scope="node", watts=100, pue=1.5).rungs["facility"]
    assert (declared.joules, declared.joules_per_output_token.basis) == (pytest.approx(600), "assumed")


def test_without_a_reading_the_whole_published_share_stands() -> None:
    node = energy_of(facts=PowerFacts(SHEET), accelerators=4).rungs["node"]
    assert node.joules == pytest.approx(4 * 4 * 1200)
    assert node.joules_per_output_token.basis == "published"


def test_what_was_read_and_cannot_be_trusted_is_not_made_up() -> None:
    found = energy_of(*even(300), *even(1000, 2000, scope="node"), facts=PowerFacts(SHEET), pue=1.2)
    assert "neither is trusted" in reason(found.rungs["node"])
    assert found.rungs["facility"].model == "rack · declared PUE of 1.2"


def test_every_rung_that_is_not_there_says_why() -> None:
    facts = PowerFacts(unread={"gpu": "no NVML", "module": "no module", "node": "no meter"})
    found = energy_of(*even(scope="cpu"), facts=facts, accelerators=0)
    assert set(found.rungs) == {"cpu"}
    assert found.absent == {
        "facility": "not modelled: no PUE is given (power.pue)",
        "gpu": "no NVML",
        "module": "no module",
        "node": "no meter; not modelled: no accelerator was used",
        "rack": "not modelled: no accelerator was used",
    }


def test_energy_above_idle_stands_beside_the_whole() -> None:
    idle = [reading(t / 10, 40 + 0.1 * (t % 2)) for t in range(-100, -50)]
    facts = PowerFacts(idle=IdlePeriod(-9 * NS_PER_S, -6 * NS_PER_S))
    rung = energy_of(*idle, *even(100), facts=facts, idle_s=3).rungs["gpu"]
    assert rung.joules == pytest.approx(400)
    assert rung.above_idle is not None
    assert rung.above_idle.idle_watts == pytest.approx(40.05, abs=0.05)
    assert rung.above_idle.joules == pytest.approx(4 * (100 - 40.05), abs=0.2)
    per_token = rung.above_idle.joules_per_output_token
    assert per_token.value == pytest.approx(4 * 59.95 / 200, abs=1e-3)
    assert rung.above_idle.idle_error is not None
    assert per_token.low is not None
    assert per_token.value - per_token.low >= rung.above_idle.idle_error * 4 * 40.05 / 200 > 0
    unread = energy_of(*even(100), facts=PowerFacts(), idle_s=3).rungs["gpu"].above_idle
    assert unread is not None
    assert (unread.joules, unread.reason) == (None, "idle power: it was not read")
    assert energy_of(*idle, *even(100), facts=facts).rungs["gpu"].above_idle is None


def test_joules_per_correct_answer() -> None:
    rungs = energy_of(*even(300), facts=PowerFacts(SHEET), correct=6).rungs
    for scope, joules in (("gpu", 1200), ("node", 3200), ("rack", 4800)):
        per_answer = rungs[scope].joules_per_correct_answer
        assert per_answer is not None
        assert per_answer.value == pytest.approx(joules / 6)


def test_facts_survive_the_record() -> None:
    facts = PowerFacts(SHEET, {"gpu": "no NVML"}, IdlePeriod(1, 2))
    context = RunContext(0, 9, 1, power=facts)
    assert RunContext.read(json.loads(json.dumps(asdict(context)))) == context
    assert RunContext.read({"start_ns": 0, "end_ns": 9, "accelerators": 1}).power is None
