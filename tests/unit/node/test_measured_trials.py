"""Trials and the figures they come to, how time is dealt out, and what is null with which reason."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.core.time_shares import dealt
from bench.node.facts import AbsentError
from bench.node.measured import company, trials, wake_up
from bench.node.measured.figure import Figure, absent, figure, rate
from bench.node.measured.trials import Step, repeated, step


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def taking(self, seconds: float) -> Callable[[], float]:
        """A trial that takes so long, and says how long."""

        def trial() -> float:
            self.now += seconds
            return seconds

        return trial


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(trials.time, "monotonic", clock.monotonic)
    return clock


def test_a_figure_is_the_median_between_the_quartiles() -> None:
    assert figure([5.0, 1.0, 2.0, 3.0, 4.0], "by hand") == Figure(3.0, 2.0, 4.0, 5, "by hand")
    assert figure([7.0], "once") == Figure(7.0, 7.0, 7.0, 1, "once")


def test_a_rate_is_high_where_the_time_is_short() -> None:
    assert rate(100.0, [1.0, 2.0, 4.0], "by hand") == Figure(50.0, 37.5, 75.0, 3, "by hand")


def test_trials_are_repeated_while_there_is_room_for_one_more(clock: Clock) -> None:
    assert repeated(clock.taking(1.0), 5.5) == [1.0] * 4  # one more is not counted, and another has no room
    assert clock.now == pytest.approx(105.0)


def test_there_is_one_trial_at_least(clock: Clock) -> None:
    assert repeated(clock.taking(10.0), 0.5) == [10.0]


def test_a_step_whose_time_is_over_is_not_begun() -> None:
    def never(seconds: float) -> Figure:
        raise AssertionError

    assert step("a", never).figures(0.0) == {"a": absent("the time was over before it could begin")}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AbsentError("there is no disk"), "there is no disk"),
        (RuntimeError("CUDA error: out of memory\nSearch for it in the documentation"), "CUDA error: out of memory"),
        (MemoryError(), "MemoryError"),
        (PermissionError(13, "Permission denied", "/home/somebody/runs"), "Permission denied"),
    ],
)
def test_what_a_measure_raises_is_the_reason_of_each_of_its_figures(error: Exception, reason: str) -> None:
    def broken(seconds: float) -> dict[str, Figure]:
        raise error

    assert Step(("a", "b"), broken).figures(1.0) == {"a": absent(reason), "b": absent(reason)}


def test_time_is_dealt_by_weight_and_what_is_left_goes_to_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    shares = {}
    for name, share in dealt({"a": 1.0, "b": 1.0, "c": 2.0}, 40.0):
        shares[name] = share
        clock.now += {"a": 4.0, "b": 30.0, "c": 0.0}[name]
    assert shares == pytest.approx({"a": 10.0, "b": 12.0, "c": 6.0})


def test_time_that_was_taken_too_much_of_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    shares = []
    for _, share in dealt({"a": 1.0, "b": 1.0}, 10.0):
        shares.append(share)
        clock.now += 50.0
    assert shares == [5.0, 0.0]


def test_the_latest_end_of_a_sleep_is_told_beside_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    late = iter([0.1 + index / 1000 for index in range(10 * wake_up._SLEEPS)])
    monkeypatch.setattr(wake_up, "_late", lambda: next(late))
    monkeypatch.setattr(wake_up, "repeated", lambda trial, seconds: [trial() for _ in range(3)])
    told = wake_up.timer_lateness(1.0)
    usual, latest = told["timer_late_s"], told["timer_latest_s"]
    # The first trial is not counted.
    assert (usual.n, latest.n) == (2 * wake_up._SLEEPS, 2)
    assert usual.value == pytest.approx(0.1 + (wake_up._SLEEPS + 3 * wake_up._SLEEPS - 1) / 2 / 1000)
    assert latest.value == pytest.approx(0.1 + (2.5 * wake_up._SLEEPS - 1) / 1000)


def test_threads_that_sleep_wake_one_another() -> None:
    told: Any = wake_up.wake_up_time(0.05)
    assert 0 < told.low <= told.value <= told.high


def test_what_others_take_of_the_processors_is_what_was_not_measured_with(
    write: Callable[[str, object], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    usage = SimpleNamespace(ru_utime=1.0, ru_stime=0.5)
    monkeypatch.setattr(company.resource, "getrusage", lambda who: usage)
    ticks = os.sysconf("SC_CLK_TCK")

    def busy(user: int, stolen: int) -> None:
        rows = [f"cpu{cpu} {user * ticks} 0 0 900 0 0 0 {stolen * ticks} 0 0" for cpu in range(3)]
        write("proc/stat", "\n".join(rows))

    write("proc/self/status", "Cpus_allowed_list:\t0-1")
    busy(user=100, stolen=0)
    met = company.Company(tmp_path)
    clock.now += 10.0
    busy(user=106, stolen=1)
    usage.ru_utime = 3.0  # of this process, and as much of those that ended
    assert met.share() == pytest.approx((2 * 7 - 2 * 2) / (2 * 10))
    write("proc/stat", "nothing")
    assert met.share() is None
