"""Each thing that can be wrong with a machine is a reason against a run's numbers, or a note beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import pytest
from health_looks import START_NS, Figures, looks

from bench.core.records import HealthRow, TurnRow
from bench.core.spec import Case
from bench.core.units import NS_PER_S
from bench.metrics.context import HealthWatch, RunContext
from bench.metrics.health import health_of
from bench.metrics.health_verdict import health_notes, health_reasons
from bench.metrics.reason import Reason
from bench.metrics.summary import counted_turns
from bench.metrics.verdict import Verdict
from bench.results.batches import table_of

Judge: TypeAlias = Callable[..., Verdict]

SOUND: Figures = {
    "sm_clock_mhz": lambda _: 1980.0,
    "throttle_hw_thermal": lambda _: 0.0,
    "throttle_sw_power_cap": lambda _: 0.0,
    "ecc_corrected": lambda _: 3.0,
    "ecc_uncorrected": lambda _: 0.0,
    "remapping_failed": lambda _: 0.0,
    "xid_events": lambda _: 0.0,
    "xid_last": lambda _: 0.0,
    "compute_processes": lambda _: 1.0,
    "other_compute_processes": lambda _: 0.0,
}
QUIET: Figures = {
    "busy_s": lambda s: 1.1 * s,
    "own_cpu_s": lambda s: 1.0 * s,
    "steal_s": lambda _: 0.0,
    "counted_cpus": lambda _: 2.0,
}
MOCK = {"kind": "mock"}
CROWDED = {**QUIET, "busy_s": lambda s: 1.9 * s}


@pytest.fixture
def judge(make_case: Callable[..., Case], make_turn: Callable[..., TurnRow]) -> Judge:
    """What health says of a steady closed loop on a machine with these figures, by default a sound and quiet one."""

    def verdict(
        gpu: Figures = SOUND,
        cpu: Figures = QUIET,
        *,
        seconds: int = 20,
        used: tuple[str, ...] | None = ("gpu0",),
        on_cpu: bool = False,
        gap_ms: Callable[[float], float] = lambda _: 100.0,
        hangs: str | None = None,
        engine: Mapping[str, str] = MOCK,
    ) -> Verdict:
        turns, t = [], START_NS / 1e6
        while t < START_NS / 1e6 + 1000 * seconds:
            gap = gap_ms(t / 1000 - START_NS / NS_PER_S)
            turns.append(make_turn(t, [t + 0.2 * gap, t + 0.6 * gap, t + 0.99 * gap], session=str(t)))
            t += gap
        health: list[HealthRow] = [*looks("gpu0", seconds, gpu), *looks("cpu", seconds, cpu)]
        context = RunContext(
            START_NS, START_NS + seconds * NS_PER_S, 1, health=HealthWatch(used, computes_on_cpu=on_cpu, hangs=hangs)
        )
        spec = make_case(load={"kind": "closed", "concurrency": 1}, engine=engine).spec
        columns, _, window = counted_turns(spec, context, table_of("turns", turns))
        fared = health_of(table_of("health", health), columns, window, spec.load, context)
        reasons, notes = (tuple(told(fared, window, spec, context.health)) for told in (health_reasons, health_notes))
        return Verdict("invalid" if reasons else "valid", reasons, notes)

    return verdict


def only(found: tuple[Reason, ...]) -> Reason:
    (reason,) = found
    return reason


def test_a_sound_machine_of_ones_own_is_not_spoken_of(judge: Judge) -> None:
    for on_cpu in (False, True):
        found = judge(on_cpu=on_cpu, seconds=70)
        assert (found.status, found.reasons, found.notes) == ("valid", (), ())


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"xid_events": lambda s: float(s > 9), "xid_last": lambda s: 79.0 * (s > 9)}, "the last with number 79"),
        ({"xid_events": lambda s: float(s > 9), "xid_last": lambda s: 31.0 * (s > 9)}, "a faulty program can cause"),
        ({"ecc_uncorrected": lambda s: 5.0 + (s > 9)}, "gpu0 counted 1 ecc uncorrected"),
        ({"remapping_failed": lambda _: 1.0}, "could not be remapped"),
        ({"sm_clock_mhz": lambda s: 1980.0 if s < 12 else None}, "gpu0 answered no more from 12.0 s on"),
    ],
)
def test_a_fault_of_the_device_is_a_hardware_error(judge: Judge, figures: Figures, told: str) -> None:
    found = judge({**SOUND, **figures})
    assert (found.status, only(found.reasons).code) == ("invalid", "hardware_error")
    assert told in only(found.reasons).message
    assert only(found.reasons).evidence["device"] == "gpu0"


def test_a_gpu_that_hangs_is_a_hardware_error_where_it_may_be_the_runs(judge: Judge) -> None:
    for used in (("gpu0",), None):
        found = judge(hangs="gpu0", used=used)
        assert (only(found.reasons).code, only(found.reasons).evidence) == ("hardware_error", {"device": "gpu0"})
    for other in ("cpu", "gpu1"):
        assert judge(hangs=other, used=None).status == "valid"


@pytest.mark.parametrize(
    "figures",
    [
        {"throttle_hw_thermal": lambda s: float(s == 10)},
        {"throttle_hw_thermal_s": lambda s: 0.02 * s},
        {"throttle_hw_power_brake_s": lambda s: 0.5 * s},
        {"throttle_hw_slowdown": lambda s: float(s > 5)},
        {"violation_thermal_s": lambda s: 0.1 * s},
    ],
)
def test_heat_and_power_brakes_throttle(judge: Judge, figures: Figures) -> None:
    found = judge({**SOUND, **figures})
    assert {reason.code for reason in found.reasons} == {"throttled"}
    assert found.status == "invalid"


def test_a_power_cap_is_normal_under_load_and_a_moment_of_heat_is_nothing(judge: Judge) -> None:
    found = judge(
        {**SOUND, "throttle_sw_power_cap_s": lambda s: 0.63 * s, "throttle_hw_thermal_s": lambda s: 0.005 * s}
    )
    assert (found.status, only(found.notes).code) == ("valid", "power_capped")
    assert only(found.notes).message == "clocks of gpu0 were held back: sw power cap 63% of the time"
    changing = judge({**SOUND, "throttle_hw_slowdown": lambda s: float(s == 10)})
    assert (changing.status, changing.notes) == ("valid", ())


def test_corrected_errors_are_a_note(judge: Judge) -> None:
    found = judge({**SOUND, "ecc_corrected": lambda s: 3.0 + s, "pcie_replays": lambda s: 2.0 * s})
    assert (found.status, only(found.notes).code) == ("valid", "device_errors")
    assert only(found.notes).evidence == {"device": "gpu0", "ecc_corrected": 20.0, "pcie_replays": 40.0}
    pending = judge({**SOUND, "remapping_pending": lambda s: float(s > 3)})
    assert "when it is next reset" in only(pending.notes).message


SHARED = {**SOUND, "compute_processes": lambda _: 2.0, "other_compute_processes": lambda s: float(s == 7)}


@pytest.mark.parametrize("used", [("gpu0",), None])
def test_another_process_on_a_gpu_of_the_run_is_company(judge: Judge, used: tuple[str, ...] | None) -> None:
    found = judge(SHARED, used=used)
    assert (found.status, only(found.reasons).code) == ("invalid", "not_alone")
    assert only(found.reasons).message == "1 process not of this run held a compute context on gpu0"


def test_processes_that_may_be_the_engines_are_a_note(judge: Judge) -> None:
    # Of a server that was there before, or seen from a container that cannot tell whose they are.
    server = {**SOUND, "compute_processes": lambda _: 1.0, "other_compute_processes": lambda _: 1.0}
    assert judge(server, used=None).notes == ()
    two = {**SOUND, "compute_processes": lambda _: 2.0, "other_compute_processes": lambda _: 2.0}
    hidden = {**SHARED, "other_compute_processes": lambda _: None}
    for figures, used in ((two, None), (hidden, ("gpu0",)), (hidden, None)):
        found = judge(figures, used=used)
        assert (found.status, only(found.notes).code) == ("valid", "not_alone")
        assert "which are of this run is not told" in only(found.notes).message


def test_crowded_processors_are_a_reason_where_the_engine_computes_on_them(judge: Judge) -> None:
    on_cpu, on_gpu = judge(cpu=CROWDED, on_cpu=True), judge(cpu=CROWDED)
    assert (on_cpu.status, only(on_cpu.reasons).code, on_cpu.notes) == ("invalid", "not_alone", ())
    evidence = {"cpus": 2, "others_share": 0.45, "steal_share": 0.0, "own_share": 0.5, "idle_share": 0.05}
    assert only(on_cpu.reasons).evidence == pytest.approx(evidence)
    for found in (on_gpu, judge(cpu=CROWDED, on_cpu=True, seconds=9)):
        assert (found.status, only(found.notes).code) == ("valid", "not_alone")


@pytest.mark.parametrize(
    ("cpu", "status", "notes"),
    [
        ({"busy_s": lambda s: 1.15 * s}, "valid", 0),
        ({"busy_s": lambda s: 1.45 * s}, "valid", 1),
        ({"busy_s": lambda s: 1.7 * s}, "valid", 1),  # over a quarter is taken, and 15 % are left
        ({"busy_s": lambda s: 1.2 * s, "steal_s": lambda s: 0.7 * s}, "invalid", 0),  # a hypervisor is company too
        ({"busy_s": lambda s: 2.0 * s, "own_cpu_s": lambda s: 1.7 * s}, "valid", 1),  # the run itself filled them
        ({"busy_s": lambda s: 1.7 * s, "cpu_pressure_s": lambda s: 0.4 * s}, "invalid", 0),
        ({"busy_s": lambda s: 1.9 * s, "cpu_pressure_s": lambda s: 0.2 * s}, "valid", 1),  # little waited for another
        (
            {"busy_s": lambda s: 30.0 * s, "counted_cpus": lambda _: 64.0, "cpu_pressure_s": lambda s: 0.9 * s},
            "valid",
            1,
        ),  # something does on a large machine of which half is idle
    ],
)
def test_company_counts_once_it_is_waited_for(judge: Judge, cpu: Figures, status: str, notes: int) -> None:
    found = judge(cpu={**QUIET, **cpu}, on_cpu=True)
    assert (found.status, len(found.notes)) == (status, notes)


def test_a_server_that_may_be_here_is_not_told_from_others(judge: Judge) -> None:
    served = judge(cpu=CROWDED, engine={"kind": "endpoint", "base_url": "http://127.0.0.1:8000"})
    assert "the server among them where it runs here" in only(served.notes).message
    assert "the server" not in only(judge(cpu=CROWDED).notes).message


def test_a_hot_processor_throttles_a_run_that_computes_on_it(judge: Judge) -> None:
    hot = {**QUIET, "package_throttle_s": lambda s: 0.05 * s}
    assert only(judge(cpu=hot, on_cpu=True).reasons).code == "throttled"
    assert judge(cpu=hot).status == "valid"


def test_a_quota_that_was_reached_and_waiting_for_memory_are_notes(judge: Judge) -> None:
    quota = {"quota_periods": lambda s: 10.0 * s, "quota_throttled_periods": lambda s: 3.0 * s}
    found = judge(cpu={**QUIET, **quota, "memory_pressure_s": lambda s: 0.2 * s})
    assert [note.code for note in found.notes] == ["starved", "starved"]
    assert found.status == "valid"


def test_throughput_that_falls_is_a_reason_and_a_clock_that_does_a_note(judge: Judge) -> None:
    slowing = judge(gap_ms=lambda s: 100 * (1 + s / 300), seconds=120)
    assert (slowing.status, only(slowing.reasons).code) == ("invalid", "drifting")
    assert "load.random_start" in only(slowing.reasons).message
    assert only(slowing.reasons).evidence["change"] == pytest.approx(-1 / 3, abs=0.05)
    clock = judge({**SOUND, "sm_clock_mhz": lambda s: 1980.0 - s}, seconds=120)
    assert (clock.status, only(clock.notes).code) == ("valid", "drifting")
    assert only(clock.notes).evidence["figure"] == "gpu0.sm_clock_mhz"
    slower = {**QUIET, "frequency_mean_mhz": lambda s: 3000.0 - 3 * s}
    assert judge(cpu=slower, seconds=120).notes == ()
    assert only(judge(cpu=slower, seconds=120, on_cpu=True).notes).evidence["figure"] == "cpu.frequency_mean_mhz"
    assert judge(gap_ms=lambda s: 100 * (1 + s / 300), seconds=50).status == "valid"  # too short to tell
