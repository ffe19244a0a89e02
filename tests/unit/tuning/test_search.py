"""The search for the best schedule, on a device whose every time is known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from neokernels.tuning.inspection import Inspection
from neokernels.tuning.measurement import Resources
from neokernels.tuning.search import interleaved
from neokernels.tuning.shortlist import allowed, neighbours, shortlist
from neokernels.tuning.space import Config
from neokernels.tuning.store import MeasurementLog, read_measurements, winners
from neokernels.tuning.timer import DeviceLostError


@pytest.fixture
def problem(simulated: Any) -> Any:
    return simulated.Rows(64, 4096)


def test_finds_the_fastest_and_says_what_that_gains(simulated: Any, database: Path, problem: Any) -> None:
    with MeasurementLog(database) as log:
        outcome = simulated.search(log).tune(simulated.TWICE, problem)
    assert outcome.best.config == simulated.FASTEST
    assert outcome.heuristic.p50_us / outcome.best.p50_us == pytest.approx(1.3)
    assert outcome.best.roofline_fraction == pytest.approx(8 * 64 * 4096 / 3e12 / (outcome.best.p50_us * 1e-6))
    assert outcome.best.method.final
    assert read_measurements(database) == log.rows


def test_every_candidate_has_a_row_and_only_what_compiles_is_launched(
    simulated: Any, database: Path, problem: Any
) -> None:
    no_code = Config(BLOCK=16, num_warps=1)
    spills, too_large, fails = (Config(BLOCK=256, num_warps=warps) for warps in (1, 2, 4))
    compiler = simulated.SimulatedCompiler(
        {
            no_code: Inspection("does_not_compile", "unsupported", None),
            spills: Inspection("spills", "twice: 8 bytes of stack", Resources(255, 8, 0)),
            too_large: Inspection("does_not_fit", "twice: too much shared memory", Resources(64, 0, 300_000)),
        }
    )
    timer = simulated.SimulatedTimer(wrong=frozenset([simulated.FASTEST]), fails=frozenset([fails]))
    with MeasurementLog(database) as log:
        outcome = simulated.search(log, timer, compiler).tune(simulated.TWICE, problem)
    status = {row.config: row.status for row in log.rows}
    assert set(status) == set(allowed(simulated.TWICE, problem, simulated.DEVICE))
    assert status[no_code] == "does_not_compile"
    assert status[spills] == "spills"
    assert status[too_large] == "does_not_fit"
    assert status[fails] == "failed"
    assert status[simulated.FASTEST] == "wrong"
    assert not {no_code, spills, too_large, fails} & {config for _, config in timer.sampled}
    # The next best: what is fastest computes something else.
    assert outcome.best.p50_us == pytest.approx(1.15 * simulated.true_us(problem, simulated.FASTEST))


def test_rule_of_thumb_is_measured_though_it_spills(simulated: Any, database: Path, problem: Any) -> None:
    heuristic = simulated.TWICE.heuristic(problem, simulated.DEVICE)
    compiler = simulated.SimulatedCompiler({heuristic: Inspection("spills", "8 bytes", Resources(255, 8, 0))})
    with MeasurementLog(database) as log:
        assert simulated.search(log, compiler=compiler).tune(simulated.TWICE, problem).heuristic is not None


def test_interleaving_tells_what_drift_hides(simulated: Any, problem: Any) -> None:
    # The faster comes last, when the device is slow already.
    slower, faster = Config(BLOCK=128, num_warps=4), simulated.FASTEST
    timing = simulated.SimulatedTiming(simulated.SimulatedTimer(time_us=simulated.drifting), problem)
    naive = {config: sum(timing.sample_us(config) for _ in range(40)) for config in (slower, faster)}
    assert min(naive, key=naive.__getitem__) == slower

    timing = simulated.SimulatedTiming(simulated.SimulatedTimer(time_us=simulated.drifting), problem)
    fair = {config: sum(taken) for config, taken in interleaved(timing, (slower, faster), 40).items()}
    assert min(fair, key=fair.__getitem__) == faster


def test_search_is_not_misled_by_drift(simulated: Any, database: Path, problem: Any) -> None:
    timer = simulated.SimulatedTimer(time_us=simulated.drifting)
    with MeasurementLog(database) as log:
        assert simulated.search(log, timer).tune(simulated.TWICE, problem).best.config == simulated.FASTEST


def test_the_luckiest_of_many_is_measured_again(simulated: Any, database: Path, problem: Any) -> None:
    lucky = Config(BLOCK=128, num_warps=4)

    def time_us(problem: Any, config: Config, samples: int) -> float:
        us: float = simulated.true_us(problem, config)
        return 0.5 * us if config == lucky and samples < 1000 else us

    with MeasurementLog(database) as log:
        search = simulated.search(log, simulated.SimulatedTimer(time_us=time_us), final_samples=500)
        outcome = search.tune(simulated.TWICE, problem)
    screened = [row for row in log.rows if not row.method.final]
    assert min(screened, key=lambda row: row.p50_us).config == lucky
    assert min(log.rows, key=lambda row: row.p50_us).config == lucky
    assert outcome.best.config == simulated.FASTEST
    [winner] = winners(log.rows, {"twice": simulated.TWICE.source_sha()})
    assert winner == outcome.best


def test_same_seed_same_search(simulated: Any, tmp_path: Path, problem: Any) -> None:
    taken = []
    for name in ("first", "second"):
        timer = simulated.SimulatedTimer(time_us=simulated.noisy(0.02))
        with MeasurementLog(tmp_path / f"{name}.jsonl") as log:
            simulated.search(log, timer, candidates=12).tune(simulated.TWICE, problem)
        taken.append((log.rows, timer.sampled))
    assert taken[0] == taken[1]


@pytest.mark.parametrize("samples", [1, 300, 700, 1500])
def test_killed_search_goes_on_where_it_was(simulated: Any, database: Path, samples: int) -> None:
    script = str(Path(__file__).with_name("simulated.py"))
    killed = subprocess.run([sys.executable, script, str(database), str(samples)], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    with database.open("a") as file:
        file.write('{"kernel": "twice", "source_sha": "to')  # half of a row
    before = read_measurements(database)
    assert len(before) < 100
    timer = simulated.SimulatedTimer(time_us=simulated.noisy(0.01))
    with MeasurementLog(database) as log:
        search = simulated.search(log, timer)
        outcomes = [search.tune(simulated.TWICE, wanted) for wanted in simulated.Twice.examples]
    assert [outcome.best.config for outcome in outcomes] == [simulated.FASTEST] * 2
    assert log.rows[: len(before)] == before
    first_rounds = [(row.problem_key, row.config) for row in log.rows if row.method.round == 0]
    assert len(first_rounds) == len(set(first_rounds)) == 40


@pytest.mark.parametrize("candidates", [1, 2, 5, 48])
def test_what_is_done_is_not_measured_again(simulated: Any, database: Path, problem: Any, candidates: int) -> None:
    with MeasurementLog(database) as log:
        first = simulated.search(log, candidates=candidates).tune(simulated.TWICE, problem)
        again = simulated.SimulatedTimer()
        assert simulated.search(log, again, candidates=candidates).tune(simulated.TWICE, problem) == first
        assert not again.sampled


def test_another_stack_is_measured_anew(simulated: Any, database: Path, problem: Any) -> None:
    timer = simulated.SimulatedTimer()
    with MeasurementLog(database) as log:
        simulated.search(log).tune(simulated.TWICE, problem)
        simulated.search(log, timer, stack=replace(simulated.STACK, triton="3.9.0")).tune(simulated.TWICE, problem)
    assert timer.sampled


def test_interrupt_keeps_rounds_that_were_done(simulated: Any, database: Path, problem: Any) -> None:
    def time_us(problem: Any, config: Config, samples: int) -> float:
        if samples == 200:  # in the second round
            raise KeyboardInterrupt
        us: float = simulated.true_us(problem, config)
        return us

    with pytest.raises(KeyboardInterrupt), MeasurementLog(database) as log:
        simulated.search(log, simulated.SimulatedTimer(time_us=time_us)).tune(simulated.TWICE, problem)
    assert len(read_measurements(database)) == 20


def test_a_candidate_that_breaks_the_device_is_not_tried_again(simulated: Any, database: Path, problem: Any) -> None:
    breaks = Config(BLOCK=32, num_warps=8)
    with MeasurementLog(database) as log:
        search = simulated.search(log, simulated.SimulatedTimer(breaks=frozenset([breaks])))
        with pytest.raises(DeviceLostError):
            search.tune(simulated.TWICE, problem)
        [row] = [row for row in log.rows if row.config == breaks]
        assert (row.status, row.detail) == (
            "failed",
            "the device was lost: an illegal memory access was encountered",
        )
        assert search.tune(simulated.TWICE, problem).best.config == simulated.FASTEST


def test_a_wider_search_defends_the_winner(simulated: Any, database: Path, problem: Any) -> None:
    with MeasurementLog(database) as log:
        narrow = simulated.search(log, candidates=4).tune(simulated.TWICE, problem)
        wide = simulated.search(log).tune(simulated.TWICE, problem)
    assert wide.best.config == simulated.FASTEST
    last = {row.config for row in log.rows if row.time == wide.best.time}
    assert {narrow.best.config, simulated.TWICE.heuristic(problem, simulated.DEVICE)} <= last


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_shortlist_begins_with_the_rule_of_thumb(simulated: Any, problem: Any, limit: int) -> None:
    listed = shortlist(simulated.TWICE, problem, simulated.DEVICE, limit=limit, seed=0)
    assert listed[0] == simulated.TWICE.heuristic(problem, simulated.DEVICE)
    assert len(listed) == len(set(listed)) == min(limit, 20)
    assert listed == shortlist(simulated.TWICE, problem, simulated.DEVICE, limit=limit, seed=0)


def test_shortlist_leaves_out_what_makes_no_sense(simulated: Any) -> None:
    listed = shortlist(simulated.TWICE, simulated.Rows(64, 64), simulated.DEVICE, limit=100, seed=0)
    assert {config["BLOCK"] for config in listed} == {16, 32, 64}


def test_a_kernel_that_is_not_for_the_device_is_left_alone(simulated: Any, database: Path, problem: Any) -> None:
    class Elsewhere(simulated.Twice):
        def makes_sense(self, problem: Any, config: Config, device: Any) -> bool:
            return device.capability >= 100

    assert shortlist(Elsewhere(), problem, simulated.DEVICE, limit=8, seed=0) == ()
    with MeasurementLog(database) as log:
        outcome = simulated.search(log).tune(Elsewhere(), problem)
    assert (outcome.best, outcome.heuristic, log.rows) == (None, None, [])


def test_steps_from_the_fastest_are_tried_beyond_the_shortlist(simulated: Any, database: Path, problem: Any) -> None:
    listed = shortlist(simulated.TWICE, problem, simulated.DEVICE, limit=5, seed=0)
    assert simulated.FASTEST not in listed
    with MeasurementLog(database) as log:
        outcome = simulated.search(log, candidates=5).tune(simulated.TWICE, problem)
    assert outcome.best.config == simulated.FASTEST
    assert len({row.config for row in log.rows}) < 20


def test_neighbours_differ_by_one_step_of_one_knob(simulated: Any) -> None:
    found = set(neighbours(simulated.TWICE, simulated.Rows(64, 128), simulated.DEVICE, simulated.FASTEST))
    assert found == {Config(BLOCK=64, num_warps=2), Config(BLOCK=128, num_warps=1), Config(BLOCK=128, num_warps=4)}
