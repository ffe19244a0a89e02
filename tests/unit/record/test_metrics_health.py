"""How a machine fared over a window, from made-up health tables whose figures are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from health_looks import START_NS, Figures, looks

from bench.core.records import HealthRow, TurnRow
from bench.core.spec import Case
from bench.core.units import NS_PER_S
from bench.metrics.context import HealthWatch, RunContext
from bench.metrics.health import Health
from bench.metrics.health_series import Gauge, series_of
from bench.metrics.steady_state import Window
from bench.metrics.summary import Summary, summarise
from bench.results.batches import table_of


def over(seconds: tuple[float, float]) -> Window:
    return Window(seconds[0] * NS_PER_S, seconds[1] * NS_PER_S)


def series(figure: Callable[[int], float | None], seconds: int = 10) -> Any:
    table = table_of("health", looks("gpu0", seconds, {"figure": figure}))
    return series_of(table, start_ns=START_NS)["gpu0"]["figure"]


@pytest.mark.parametrize(
    ("window", "gauge"),
    [
        ((0, 10), Gauge(4.5, 0, 9)),
        ((2.5, 4), Gauge((0.5 * 2 + 3) / 1.5, 2, 3)),
        ((3.2, 3.4), Gauge(3, 3, 3)),  # no look in it: the one before holds
        ((9, 12), Gauge((9 + 2 * 10) / 3, 9, 10)),
    ],
)
def test_a_look_holds_until_the_next(window: tuple[float, float], gauge: Gauge) -> None:
    found = series(float).over(over(window))
    assert (found.mean, found.min, found.max) == pytest.approx((gauge.mean, gauge.min, gauge.max))


def test_a_counter_is_interpolated_at_the_edges_and_goes_on_when_it_is_set_back() -> None:
    assert series(lambda s: 3.0 * s).rise(over((2.5, 6.25))) == pytest.approx(3 * 3.75)
    reset = series(lambda s: 3.0 * s if s < 5 else 3.0 * (s - 5))
    assert reset.rise(over((0, 10))) == pytest.approx(3 * 9)  # what was counted between 4 s and 5 s is not known
    assert reset.total_rise == 27.0
    assert series(lambda s: 0.25 * s).share_of_time(over((1, 9.5))) == pytest.approx(0.25)


def test_what_is_lost_is_told_for_the_time_before() -> None:
    lost = series(lambda s: 0.5 * s if s < 6 else None)
    assert lost.lost_at_ns == 6 * NS_PER_S
    assert lost.share_of_time(over((2, 9))) == pytest.approx(0.5)
    assert lost.over(over((4, 9))) == Gauge(2.25, 2.0, 2.5)
    assert lost.over(over((7, 9))) is None
    assert lost.rise(over((7, 9))) is None
    never = series(lambda _: None)
    assert (never.lost_at_ns, never.total_rise, never.last, never.highest) == (None, None, None, None)


def test_an_empty_table_tells_nothing() -> None:
    assert series_of(table_of("health", []), start_ns=0) == {}


GPU: Figures = {
    "sm_clock_mhz": lambda s: 1980.0 - 10 * (s % 2),
    "temperature_c": lambda s: 40.0 + s,
    "throttle_sw_power_cap": lambda s: float(s >= 10),
    "throttle_sw_power_cap_s": lambda s: 0.7 * s,
    "throttle_hw_slowdown": lambda s: float(s == 10),
    "violation_thermal_s": lambda s: 0.1 * s,
    "xid_events": lambda s: float(s > 30),
    "xid_last": lambda s: 94.0 * (s > 30),
    "ecc_corrected": lambda s: 7.0 + (s > 1),
    "remapping_pending": lambda s: float(s > 3),
    "compute_processes": lambda s: 1.0 + (s == 12),
    "other_compute_processes": lambda s: float(s == 12),
}
CPU: Figures = {
    "load_average_1m": lambda _: 1.5,
    "busy_s": lambda s: 100 + 1.5 * s,
    "own_cpu_s": lambda s: 3 + 0.9 * s,
    "steal_s": lambda s: 9 + 0.1 * s,
    "counted_cpus": lambda _: 2.0,
    "quota_periods": lambda s: 10.0 * s,
    "quota_throttled_periods": lambda s: 4.0 * s,
    "memory_pressure_s": lambda s: 0.02 * s,
    "own_major_faults": lambda s: 5.0 * s,
}


@pytest.fixture
def summary(
    make_case: Callable[..., Case], make_turn: Callable[..., TurnRow]
) -> Callable[[list[HealthRow], int], Summary]:
    """The summary of `seconds` of a steady closed loop on a machine with this health."""

    def make(health: list[HealthRow], seconds: int) -> Summary:
        turns = [
            make_turn(5000 + 100 * i, [5000 + 100 * i + t for t in (20, 60, 99)], session=str(i))
            for i in range(10 * seconds)
        ]
        watch = HealthWatch(gpus_used=("gpu0",), computes_on_cpu=False)
        context = RunContext(START_NS, START_NS + seconds * NS_PER_S, 1, health=watch)
        tables: dict[str, list[Any]] = {"turns": turns, "power": [], "steps": [], "health": health}
        case = make_case(load={"kind": "closed", "concurrency": 1})
        return summarise(case, context, **{name: table_of(name, rows) for name, rows in tables.items()})

    return make


def test_the_section_tells_what_the_table_does(summary: Callable[[list[HealthRow], int], Summary]) -> None:
    found = summary([*looks("gpu0", 40, GPU), *looks("cpu", 40, CPU)], 40)
    assert {reason.code for reason in found.verdict.reasons} == {"hardware_error", "not_alone", "throttled"}
    assert {note.code for note in found.verdict.notes} == {"device_errors", "power_capped", "not_alone", "starved"}
    health = found.health
    assert isinstance(health, Health)
    gpu, cpu = health.gpus["gpu0"], health.cpu
    assert (health.over, health.looks) == ("steady window", 39)
    assert gpu.gauges["sm_clock_mhz"] is not None
    assert gpu.gauges["sm_clock_mhz"].min == 1970.0
    assert gpu.gauges["memory_clock_mhz"] is None
    assert gpu.throttled["sw_power_cap"] is not None
    assert gpu.throttled["sw_power_cap"].share == pytest.approx(0.7)
    assert gpu.throttled["sw_power_cap"].source == "driver"
    assert gpu.throttled["hw_slowdown"] is not None
    assert gpu.throttled["hw_slowdown"].source == "looks"
    assert gpu.throttled["thermal_violation"] is not None
    assert gpu.throttled["thermal_violation"].share == pytest.approx(0.1)
    assert gpu.throttled["hw_thermal"] is None
    assert gpu.throttled["sync_boost"] is None
    assert (gpu.errors["xid_events"], gpu.last_xid, gpu.errors["ecc_corrected"]) == (1.0, 94, 1.0)
    assert gpu.errors["ecc_uncorrected"] is None
    assert (gpu.remapping_pending, gpu.remapping_failed, gpu.lost_at_s) == (True, None, None)
    assert (gpu.compute_processes, gpu.own_compute_processes, gpu.other_compute_processes) == (2, 1, 1)
    shares = (cpu.own_share, cpu.others_share, cpu.steal_share, cpu.idle_share)
    assert shares == pytest.approx((0.45, 0.3, 0.05, 0.2))
    assert (cpu.quota_throttled_share, cpu.pressure["memory"]) == pytest.approx((0.4, 0.02))
    assert cpu.counts["own_major_faults"] == pytest.approx(5 * 39.88, rel=0.01)
    assert json.loads(json.dumps(asdict(health), allow_nan=False))["cpu"]["cpus"] == 2


def test_the_order_of_the_rows_changes_nothing(summary: Callable[[list[HealthRow], int], Summary]) -> None:
    rows = [*looks("gpu0", 20, GPU), *looks("cpu", 20, CPU)]
    assert summary(rows, 20).sections() == summary(rows[::-1], 20).sections()


def test_without_a_window_it_is_the_runs(make_case: Callable[..., Case]) -> None:
    context = RunContext(START_NS, START_NS + 20 * NS_PER_S, 1, health=HealthWatch(None, computes_on_cpu=True))
    tables = {name: table_of(name, []) for name in ("turns", "power", "steps")}
    health = summarise(make_case(), context, **tables, health=table_of("health", looks("gpu0", 20, GPU))).health
    assert health is not None
    assert (health.over, health.drift) == ("run", {})
    assert health.gpus["gpu0"].errors["xid_events"] == 0.0


def test_a_run_of_an_earlier_version_has_no_such_section(make_case: Callable[..., Case]) -> None:
    tables = {name: table_of(name, []) for name in ("turns", "power", "steps")}
    health = table_of("health", looks("gpu0", 20, GPU))
    assert summarise(make_case(), RunContext(0, 1, 0), **tables, health=health).health is None


def test_who_was_watched_outlasts_the_record() -> None:
    for used in (("gpu0", "gpu1"), (), None):
        context = RunContext(0, 1, 0, health=HealthWatch(used, computes_on_cpu=True))
        assert RunContext.read(json.loads(json.dumps(asdict(context)))) == context
