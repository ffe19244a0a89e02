"""Synthetic power of known integral, seen by imperfect meters: right within 0.5 %, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from power_signals import Signal, averaged, counter, decoding, every, held, instant, lines, part_time, rows, square

from bench.core.records import PowerRow
from bench.core.units import NS_PER_S
from bench.metrics.columns import Flags, Floats
from bench.metrics.power_readings import Metered, devices_of, integrated
from bench.metrics.scope_energy import MAX_ERROR, ScopeEnergy, Untrusted, scope_energy
from bench.metrics.steady_state import Window
from bench.metrics.throughput import slice_edges
from bench.results.batches import table_of

BEGIN_S, END_S, RUN_S = 1.3, 61.1, 61.95
"""The window, and the end of the run; neither falls on a reading."""
TEN_HZ = every(0.1)
UNEVEN = held(3, hold_s=(0.5, 3), watts=(100, 700))
SPIKES = lines(*((t, 700.0 if t % 7 in (3, 4) else 300.0) for t in range(71)))
RAMPS = lines((0, 80), (20, 700), (35, 300), (70, 650))
SIGNALS = {"ramps": RAMPS, "spikes": SPIKES, "uneven": UNEVEN}


def read(
    table: list[PowerRow],
    *,
    begin_s: float = BEGIN_S,
    end_s: float = END_S,
    run_s: float = RUN_S,
    looks_part_time: bool = False,
) -> ScopeEnergy | Untrusted:
    devices = devices_of(table_of("power", table), start_ns=0, run_ns=run_s * NS_PER_S)
    window = Window(begin_s * NS_PER_S, end_s * NS_PER_S)
    return scope_energy(devices, slice_edges(window), part_time=looks_part_time)


def off(found: ScopeEnergy, signal: Signal, begin_s: float = BEGIN_S, end_s: float = END_S) -> float:
    return abs(found.metered.total / float(signal.joules(begin_s, end_s)) - 1)


def within(t_s: Floats, begin_s: float, end_s: float) -> Flags:
    return (t_s > begin_s) & (t_s < end_s)


def refusal(found: ScopeEnergy | Untrusted) -> str:
    assert isinstance(found, Untrusted)
    return found.reason


@pytest.mark.parametrize("refreshed_s", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS.keys())
def test_a_counter_is_right(signal: Signal, refreshed_s: float) -> None:
    found = read(rows(TEN_HZ, None, counter(signal, TEN_HZ, refreshed_s=refreshed_s)))
    assert isinstance(found, ScopeEnergy)
    assert found.source == "counter"
    assert off(found, signal) <= max(found.metered.error, 1e-9) <= MAX_ERROR


@pytest.mark.parametrize("meter", [instant, averaged, part_time])
@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS.keys())
def test_watts_alone_are_right_or_refused(signal: Signal, meter: object) -> None:
    assert callable(meter)
    found = read(rows(TEN_HZ, meter(signal, TEN_HZ)))
    assert isinstance(found, Untrusted) or off(found, signal) <= MAX_ERROR


def test_watts_of_an_even_load_are_right() -> None:
    noise = np.random.default_rng(0).normal(0, 8, len(TEN_HZ))
    flat = lines((0, 500), (70, 520))
    found = read(rows(TEN_HZ, instant(flat, TEN_HZ) + noise))
    assert isinstance(found, ScopeEnergy)
    assert found.source == "integral"
    assert off(found, flat) <= found.metered.error <= MAX_ERROR


@pytest.mark.parametrize("refreshed_s", [0.02, 0.0997, 0.1, 0.101])
@pytest.mark.parametrize("seed", range(3))
def test_half_a_minute_of_decoding_is_known_by_its_counter(seed: int, refreshed_s: float) -> None:
    """As of an H100: watts of the last second, and a counter that is refreshed about as often as it is read."""
    load = decoding(seed)
    times = every(0.1, jitter_s=0.004, seed=seed)
    joules = counter(load, times, refreshed_s=refreshed_s, first_s=0.033 * seed)
    found = read(rows(times, averaged(load, times), joules), begin_s=1.37, end_s=31.37, looks_part_time=True)
    assert isinstance(found, ScopeEnergy)
    assert found.source == "counter"
    assert off(found, load, 1.37, 31.37) <= found.metered.error <= MAX_ERROR
    assert found.comparison.counter_over_integral == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("refreshed_s", [0.0333, 0.0995, 0.099, 0.101, 0.103])
def test_a_counter_that_drifts_against_its_readings_is_refused_where_the_window_is_short(refreshed_s: float) -> None:
    """Its energy is then a percent off within 5 s of a steady power, and nothing it tells shows it."""
    steady = lines((0, 450), (70, 451))
    joules = counter(steady, TEN_HZ, refreshed_s=refreshed_s, first_s=0.05)
    for seconds in (3, 5, 10, 22, 40):
        found = read(rows(TEN_HZ, None, joules), begin_s=1.37, end_s=1.37 + seconds)
        assert isinstance(found, ScopeEnergy) == (seconds > 20)
        if isinstance(found, ScopeEnergy):
            assert off(found, steady, 1.37, 1.37 + seconds) <= found.metered.error


@pytest.mark.parametrize("measured_s", [1.0, 2.5])
def test_watts_that_are_read_more_often_than_they_are_measured_tell_no_more(measured_s: float) -> None:
    """One meter repeats itself ten times and more, the other is asked only when it has something new: as uncertain."""
    load = decoding(0)
    seldom, errors = every(measured_s), []
    for times in (seldom, TEN_HZ):
        watts = instant(load, np.floor(times / measured_s + 1e-9) * measured_s)
        (device,) = devices_of(table_of("power", rows(times, watts)), start_ns=0)
        told = integrated(device, slice_edges(Window(BEGIN_S * NS_PER_S, 60 * NS_PER_S)))
        assert isinstance(told, Metered)
        errors.append(told.error)
    once, repeated = errors
    assert once > MAX_ERROR
    assert repeated == pytest.approx(once, rel=0.2)


def test_watts_that_average_late_are_refused_where_it_matters() -> None:
    """A trailing average of a second over 8 s of a climbing power lags by half a second's climb."""
    late = read(rows(TEN_HZ, averaged(RAMPS, TEN_HZ)), begin_s=2, end_s=10)
    assert "uncertain" in refusal(late)


def test_a_counter_that_wrapped_or_was_reset_is_refused_and_the_watts_stand() -> None:
    steady = lines((0, 500), (70, 510))
    joules = counter(steady, TEN_HZ)
    for broken in (np.mod(joules, 16_384.0), np.where(TEN_HZ < 30, joules, joules - joules[300])):
        assert "went back" in refusal(read(rows(TEN_HZ, None, broken)))
        found = read(rows(TEN_HZ, instant(steady, TEN_HZ), broken))
        assert isinstance(found, ScopeEnergy)
        assert found.source == "integral"
        assert off(found, steady) <= MAX_ERROR
        assert found.comparison.unchecked is not None
        assert "went back" in found.comparison.unchecked


@pytest.mark.parametrize("seed", range(4))
def test_missing_samples(seed: int) -> None:
    """A third of the readings lost, then 2.5 s of them, then 3.5 s."""
    kept = np.random.default_rng(seed).random(len(TEN_HZ)) > 1 / 3
    kept[[0, -1]] = True
    for gap_s in (0.0, 2.5, 3.5):
        times = TEN_HZ[kept & ~within(TEN_HZ, 30, 30 + gap_s)]
        counted = read(rows(times, None, counter(UNEVEN, times)))
        watched = read(rows(times, instant(UNEVEN, times)))
        assert isinstance(counted, ScopeEnergy) == (gap_s < 3)
        for found in (counted, watched):
            assert isinstance(found, Untrusted) or off(found, UNEVEN) <= MAX_ERROR
        if gap_s > 3:
            assert "a gap of" in refusal(counted)


@pytest.mark.parametrize("factor", [0.9, 0.99, 0.995, 0.998, 1.0, 1.002, 1.005, 1.01, 1.1])
def test_a_clock_that_runs_wrong(factor: float) -> None:
    found = read(rows(TEN_HZ * factor, instant(UNEVEN, TEN_HZ), counter(UNEVEN, TEN_HZ)))
    if isinstance(found, Untrusted):
        assert abs(factor - 1) > 0.002
        assert "run's end" in found.reason or "do not enclose" in found.reason
    else:
        assert off(found, UNEVEN) <= MAX_ERROR


@pytest.mark.parametrize("offset_s", [-5.0, -0.4, -0.05, 0.05, 0.4, 5.0])
def test_a_clock_that_is_set_wrong(offset_s: float) -> None:
    found = read(rows(TEN_HZ + offset_s, None, counter(UNEVEN, TEN_HZ)))
    if abs(offset_s) > 0.1:
        assert "run's end" in refusal(found) or "do not enclose" in refusal(found)
    else:
        assert isinstance(found, ScopeEnergy)
        assert off(found, UNEVEN) <= MAX_ERROR


def test_a_meter_that_answered_late_when_the_run_had_ended_has_no_other_clock() -> None:
    times = np.append(TEN_HZ[TEN_HZ < RUN_S], RUN_S + 2)
    assert isinstance(read(rows(times, None, counter(UNEVEN, times))), ScopeEnergy)


def test_a_clock_that_went_back_is_refused() -> None:
    table = rows(TEN_HZ, None, counter(UNEVEN, TEN_HZ))
    table[300], table[305] = table[305], table[300]
    assert "went back by 0.4 s" in refusal(read(table))


@pytest.mark.parametrize("period_s", [0.05, 0.1, 0.1003, 0.101, 0.107, 0.2, 0.33])
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_part_time_sensor_beating_with_the_load(period_s: float, share: float) -> None:
    """Its watts are never believed alone; beside a counter they are either confirmed or make both suspect."""
    load = square(period_s, high=700, low=300, share=share)
    watts, joules = part_time(load, TEN_HZ), counter(load, TEN_HZ, refreshed_s=0.1)
    assert refusal(read(rows(TEN_HZ, watts), looks_part_time=True))
    found = read(rows(TEN_HZ, watts, joules), looks_part_time=True)
    assert isinstance(found, Untrusted) or (found.source == "counter" and off(found, load) <= MAX_ERROR)


def test_a_part_time_sensor_in_step_with_a_noisy_load_contradicts_the_counter() -> None:
    load = square(0.1, high=700, low=300)
    noise = np.random.default_rng(0).normal(0, 3, len(TEN_HZ))
    reason = refusal(read(rows(TEN_HZ, part_time(load, TEN_HZ) + noise, counter(load, TEN_HZ)), looks_part_time=True))
    assert "J by its energy counter" in reason
    assert "J by its watts" in reason


@pytest.mark.parametrize("frozen_s", [3.5, 20.0])
def test_frozen_sensors_are_refused(frozen_s: float) -> None:
    frozen = within(TEN_HZ, 20, 20 + frozen_s)
    at = int(np.argmax(frozen))
    watts = np.where(frozen, instant(RAMPS, TEN_HZ)[at], instant(RAMPS, TEN_HZ))
    assert "frozen" in refusal(read(rows(TEN_HZ, watts)))
    joules = np.where(frozen, counter(RAMPS, TEN_HZ)[at], counter(RAMPS, TEN_HZ))
    assert "it stood still for" in refusal(read(rows(TEN_HZ, None, joules)))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    hold_s=st.sampled_from([(0.05, 2.0), (0.5, 6.0), (3.0, 20.0)]),
    interval_s=st.floats(0.02, 0.3),
    refreshings=st.one_of(st.floats(0.9, 1.1), st.sampled_from([0.0, 0.1, 1.0, 3.0])),
    begin_s=st.floats(0.7, 20.0),
    seconds=st.floats(4.0, 40.0),
)
def test_any_counter_over_any_window_is_right_or_refused(
    seed: int,
    hold_s: tuple[float, float],
    interval_s: float,
    refreshings: float,
    begin_s: float,
    seconds: float,
) -> None:
    load = held(seed, hold_s=hold_s, watts=(100, 700))
    times = every(interval_s, jitter_s=0.001, seed=seed)
    table = rows(times, None, counter(load, times, refreshed_s=refreshings * interval_s))
    found = read(table, begin_s=begin_s, end_s=begin_s + seconds, run_s=float(times[-1]))
    assert isinstance(found, Untrusted) or off(found, load, begin_s, begin_s + seconds) <= MAX_ERROR
