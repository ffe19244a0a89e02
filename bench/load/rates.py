"""Rates that change with time: how many sessions a load lets begin by a time, turned round exactly.

Each function inverts the integral of its rate. An arrival process of rate 1 that is put through it becomes one of that
rate, with nothing drawn to be thrown away again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.core.load_spec import DiurnalLoadSpec, RampLoadSpec, StepLoadSpec

Floats = NDArray[np.float64]

_HALVINGS = 64
"""Enough to come from a whole period down to neighbouring float64 values."""


def ramp_times_s(load: RampLoadSpec, begun: Floats) -> Floats:
    """Seconds by which `begun` sessions have begun: a quadratic while the rate changes, then a line."""
    first, last = load.from_sessions_per_s, load.to_sessions_per_s
    in_ramp = 0.5 * (first + last) * load.ramp_s
    slope = (last - first) / load.ramp_s
    while_changing = np.minimum(begun, in_ramp)
    # This form of the root loses no digits where the rate hardly changes, and is 0 at 0 also where it starts from 0.
    root = np.sqrt(np.maximum(first * first + 2.0 * slope * while_changing, 0.0))
    sum_of_rates = first + root
    ramp_s = np.divide(2.0 * while_changing, sum_of_rates, out=np.zeros_like(begun), where=sum_of_rates > 0)
    times_s: Floats = ramp_s + (begun - while_changing) / last
    return times_s


def step_times_s(load: StepLoadSpec, begun: Floats) -> Floats:
    """Seconds by which `begun` sessions have begun; infinite for those that a last rate of 0 never lets begin."""
    rates = np.array([step.sessions_per_s for step in load.steps])
    lengths = np.array([step.seconds for step in load.steps])
    starts = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    begun_at_start = np.concatenate([[0.0], np.cumsum(rates * lengths)[:-1]])
    # Of steps that start with equally many begun the last one, which passes over those in which none begin.
    step = np.searchsorted(begun_at_start, begun, side="right") - 1
    rate = rates[step]
    since_start = begun - begun_at_start[step]
    in_step_s = np.divide(since_start, rate, out=np.full_like(begun, np.inf), where=rate > 0)
    times_s: Floats = starts[step] + in_step_s
    return times_s


def diurnal_times_s(load: DiurnalLoadSpec, begun: Floats) -> Floats:
    """Seconds by which `begun` sessions have begun, to the last digits of a float64, by halving."""
    swing_s = (load.peak_to_mean - 1.0) * load.period_s / (2.0 * np.pi)
    turns_per_s = 2.0 * np.pi / load.period_s
    at_zero = np.sin(turns_per_s * load.peak_at_s)
    evenly_s = begun / load.mean_sessions_per_s
    low, high = evenly_s - 2.0 * swing_s, evenly_s + 2.0 * swing_s
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        reached_s = middle + swing_s * (np.sin(turns_per_s * (middle - load.peak_at_s)) + at_zero)
        too_early = reached_s < evenly_s
        low, high = np.where(too_early, middle, low), np.where(too_early, high, middle)
    return np.maximum(high, 0.0)
