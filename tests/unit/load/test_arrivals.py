"""Arrival processes: their rates, their gaps, and inversion against the integral of the rate."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy import integrate, stats

from bench.core.errors import InputError
from bench.core.sessions import Segment, Session, Turn
from bench.core.spec import DiurnalLoadSpec, LoadSpec, RampLoadSpec, StepLoadSpec
from bench.load.arrivals import arrival_times_s
from bench.load.rates import diurnal_times_s, ramp_times_s, step_times_s

MANY = 20_000
STEPS = [
    {"sessions_per_s": 4, "seconds": 10},
    {"sessions_per_s": 0, "seconds": 30},
    {"sessions_per_s": 20, "seconds": 5},
]


def sessions(count: int, arrivals_s: list[float | None] | None = None) -> list[Session]:
    turn = Turn(index=0, prompt=(Segment("k", 1),), output_tokens=1)
    return [Session(f"s{i}", (turn,), None if arrivals_s is None else arrivals_s[i]) for i in range(count)]


def load(**settings: Any) -> LoadSpec:
    return TypeAdapter(LoadSpec).validate_python(settings)


def times_of(count: int = MANY, **settings: Any) -> Any:
    return arrival_times_s(load(**settings), sessions(count))


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "poisson", "sessions_per_s": 50},
        {"kind": "gamma", "sessions_per_s": 50, "burstiness": 0.4},
        {"kind": "ramp", "from_sessions_per_s": 1, "to_sessions_per_s": 9, "ramp_s": 60},
        {"kind": "step", "steps": STEPS},
        {"kind": "diurnal", "mean_sessions_per_s": 20, "period_s": 600, "peak_to_mean": 2},
    ],
    ids=lambda settings: settings["kind"],
)
def test_drawn_arrivals_rise_repeat_and_follow_their_seed(settings: dict[str, Any]) -> None:
    times = times_of(**settings)
    assert times[0] > 0
    assert (np.diff(times) >= 0).all()
    assert (times == times_of(**settings)).all()
    assert (times != times_of(**settings, seed=1)).any()


def test_constant_means_constant() -> None:
    times = times_of(kind="constant", sessions_per_s=2000)
    assert times[0] == 0
    assert np.diff(times) == pytest.approx(np.full(MANY - 1, 0.0005), rel=1e-9)


def test_poisson_gaps_are_exponential_of_the_asked_rate() -> None:
    gaps = np.diff(times_of(kind="poisson", sessions_per_s=50, seed=3), prepend=0.0)
    assert stats.kstest(gaps, "expon", args=(0, 1 / 50)).pvalue > 0.01
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gamma_gaps_have_the_asked_rate_and_variation(burstiness: float) -> None:
    gaps = np.diff(times_of(kind="gamma", sessions_per_s=10, burstiness=burstiness, seed=5), prepend=0.0)
    assert gaps.mean() == pytest.approx(0.1, rel=0.06)
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.06)
    assert stats.kstest(gaps, "gamma", args=(burstiness, 0, 0.1 / burstiness)).pvalue > 0.01


BEGUN = np.linspace(0.0, 400.0, 1601)


def integral_of(rate: Any, times: Any, breaks: list[float]) -> list[float]:
    def until(t: float) -> float:
        edges = [0.0, *(b for b in breaks if b < t), t]
        return sum(integrate.quad(rate, a, b, limit=200)[0] for a, b in pairwise(edges))

    return [until(float(t)) for t in times]


@pytest.mark.parametrize(("first", "last"), [(0.0, 8.0), (8.0, 0.5), (3.0, 3.0), (1.0, 1.0000001)])
def test_ramp_inverts_the_integral_of_its_rate(first: float, last: float) -> None:
    ramp = RampLoadSpec(kind="ramp", from_sessions_per_s=first, to_sessions_per_s=last, ramp_s=40)
    times = ramp_times_s(ramp, BEGUN)[::40]
    begun = integral_of(lambda t: first + (last - first) * min(t / 40, 1), times, [40.0])
    assert begun == pytest.approx(BEGUN[::40], rel=1e-9, abs=1e-9)


def test_steps_invert_the_integral_of_their_rates() -> None:
    steps = StepLoadSpec(kind="step", steps=STEPS)
    times = step_times_s(steps, BEGUN)[::40]
    begun = integral_of(lambda t: 4 if t < 10 else 0 if t < 40 else 20, times, [10.0, 40.0])
    assert begun == pytest.approx(BEGUN[::40], rel=1e-9, abs=1e-9)
    assert not ((times > 10) & (times < 40)).any()


@pytest.mark.parametrize("peak_to_mean", [1.0, 1.5, 2.0])
def test_diurnal_inverts_the_integral_of_its_rate(peak_to_mean: float) -> None:
    day = DiurnalLoadSpec(
        kind="diurnal", mean_sessions_per_s=5, peak_to_mean=peak_to_mean, period_s=60.0, peak_at_s=20.0
    )
    times = diurnal_times_s(day, BEGUN)[::40]
    swing = peak_to_mean - 1
    begun = integral_of(lambda t: 5 * (1 + swing * np.cos(2 * np.pi * (t - 20) / 60)), times, [])
    assert begun == pytest.approx(BEGUN[::40], rel=1e-9, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(first=st.floats(0, 1e4), last=st.floats(1e-3, 1e4), ramp_s=st.floats(1e-3, 1e5))
def test_any_ramp_lets_sessions_begin_in_order(first: float, last: float, ramp_s: float) -> None:
    times = ramp_times_s(
        RampLoadSpec(kind="ramp", from_sessions_per_s=first, to_sessions_per_s=last, ramp_s=ramp_s), BEGUN
    )
    assert times[0] == 0
    assert np.isfinite(times).all()
    assert (np.diff(times) >= -1e-9 * times[1:]).all()


def test_a_poisson_process_of_changing_rate_is_poisson_once_its_rate_is_taken_out() -> None:
    times = times_of(kind="diurnal", mean_sessions_per_s=20, peak_to_mean=1.8, period_s=100, seed=7)
    phase = 2 * np.pi / 100
    begun = 20 * (times + 0.8 * np.sin(phase * times) / phase)
    assert stats.kstest(np.diff(begun, prepend=0.0), "expon").pvalue > 0.01


def test_steps_that_end_in_silence_are_refused_before_the_start() -> None:
    with pytest.raises(InputError, match=r"only 4 of 9 begin before it"):
        times_of(
            9,
            kind="step",
            process="constant",
            steps=[{"sessions_per_s": 4, "seconds": 1}, {"sessions_per_s": 0, "seconds": 1}],
        )


def test_a_trace_is_replayed_on_its_own_time_from_its_first_session() -> None:
    replay = load(kind="trace", time_scale=0.5)
    assert arrival_times_s(replay, sessions(3, [60.0, 64.0, 62.0])).tolist() == [0.0, 2.0, 1.0]


def test_a_trace_without_arrivals_cannot_be_replayed_on_its_time() -> None:
    with pytest.raises(InputError, match=r"load.kind = trace: 1 of 3 sessions have no time of arrival"):
        arrival_times_s(load(kind="trace"), sessions(3, [0.0, None, 2.0]))
