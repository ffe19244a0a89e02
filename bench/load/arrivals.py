"""Arrival processes: when each session of an open loop begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.core.errors import InputError
from bench.core.load_spec import (
    ArrivalProcess,
    ConstantLoadSpec,
    DiurnalLoadSpec,
    GammaLoadSpec,
    LoadSpec,
    PoissonLoadSpec,
    RampLoadSpec,
    StepLoadSpec,
    TraceLoadSpec,
)
from bench.core.sessions import Session
from bench.load.rates import Floats, diurnal_times_s, ramp_times_s, step_times_s


def arrival_times_s(load: LoadSpec, sessions: Sequence[Session]) -> Floats:
    """Seconds from the start at which each of `sessions` begins, in their order.

    They rise but for `kind: trace`, which keeps the trace's own times. A constant process begins at once, and a drawn
    one after its first gap. Raises InputError where a session would never begin.
    """
    count = len(sessions)
    match load:
        case ConstantLoadSpec():
            return _even(count) / load.sessions_per_s
        case PoissonLoadSpec():
            return _exponential(count, load.seed) / load.sessions_per_s
        case GammaLoadSpec():
            gaps = np.random.default_rng(load.seed).gamma(load.burstiness, size=count)
            return np.cumsum(gaps) / (load.burstiness * load.sessions_per_s)
        case RampLoadSpec():
            return ramp_times_s(load, _of_rate_one(load.process, count, load.seed))
        case StepLoadSpec():
            return _all_begin(step_times_s(load, _of_rate_one(load.process, count, load.seed)))
        case DiurnalLoadSpec():
            return diurnal_times_s(load, _of_rate_one(load.process, count, load.seed))
        case TraceLoadSpec():
            return _as_recorded(sessions, load.time_scale)
        case _:
            raise ValueError(f"sessions of kind {load.kind} begin when others end")


def _of_rate_one(process: ArrivalProcess, count: int, seed: int) -> Floats:
    return _even(count) if process == "constant" else _exponential(count, seed)


def _even(count: int) -> Floats:
    return np.arange(count, dtype=np.float64)


def _exponential(count: int, seed: int) -> Floats:
    return np.cumsum(np.random.default_rng(seed).exponential(size=count))


def _all_begin(times_s: Floats) -> Floats:
    begin = int(np.isfinite(times_s).sum())
    if begin < len(times_s):
        raise InputError(
            f"the last step lets no session begin, and only {begin} of {len(times_s)} begin before it",
            where="load.steps",
            allowed="a last rate above 0, or fewer sessions",
        )
    return times_s


def _as_recorded(sessions: Sequence[Session], time_scale: float) -> Floats:
    """The trace's arrivals from the first one that is driven, so that a window cut out of a trace begins at once."""
    recorded_s = [session.arrival_s for session in sessions if session.arrival_s is not None]
    if len(recorded_s) < len(sessions):
        raise InputError(
            f"{len(sessions) - len(recorded_s)} of {len(sessions)} sessions have no time of arrival",
            where="load.kind = trace",
            allowed="a trace that tells when each session began, or another kind",
        )
    times_s = np.array(recorded_s, dtype=np.float64)
    since_first_s: Floats = times_s - times_s.min()
    return since_first_s * time_scale
