"""The part of a run in which the load was what the case asked for, found from the log.

Closed loop: from the first token of the last lane to start until the first lane that finds no further session drains,
and of that the longest stretch with at least 0.9 of the plateau of live sessions. Waiting for a tool is being alive.
A session that the end of sending cut was alive until then, so lanes that recycle their sessions drain only there.
Open loop: from the first session's end, when the engine is no longer empty, to the last arrival.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.core.spec import (
    ClosedLoadSpec,
    ConstantLoadSpec,
    GammaLoadSpec,
    LoadSpec,
    PoissonLoadSpec,
)
from bench.core.units import seconds_from_ns
from bench.metrics.columns import Flags, Floats, TurnColumns
from bench.metrics.latency import session_spans

PLATEAU_SHARE = 0.9
BRIDGED_SHARE = 0.01
"""A dip shorter than this share of the candidate window is one session handing over to the next, not a loss of load."""


@dataclass(frozen=True, slots=True)
class Window:
    """The steady window, nanoseconds since the run's start."""

    start_ns: float
    end_ns: float

    @property
    def seconds(self) -> float:
        return seconds_from_ns(self.end_ns - self.start_ns)

    def holds(self, t: Floats) -> Flags:
        """Which of the times `t` lie in the window; NaN does not."""
        return (t >= self.start_ns) & (t < self.end_ns)


@dataclass(frozen=True, slots=True)
class NoWindow:
    reason: str


def steady_window(turns: TurnColumns, load: LoadSpec, *, stop_ns: float = np.inf) -> Window | NoWindow:
    """The steady window of a run under `load` whose sending ended at `stop_ns`, or why there is none."""
    if turns.sessions == 0:
        return NoWindow("no turn was sent")
    begin, end = session_spans(turns)
    if isinstance(load, ClosedLoadSpec):
        end = np.where(turns.cut, np.maximum(end, stop_ns), end)
        return _closed(turns, begin, end, lanes=min(load.concurrency, turns.sessions))
    start_ns, end_ns = float(end.min()), float(begin.max())
    if start_ns >= end_ns:
        return NoWindow("the last session arrived before the first had ended")
    return Window(start_ns, end_ns)


def is_stationary(load: LoadSpec) -> bool:
    """Whether the load asks for one thing throughout, so that numbers of the window are those of that load."""
    return isinstance(load, ClosedLoadSpec | ConstantLoadSpec | PoissonLoadSpec | GammaLoadSpec)


def _closed(turns: TurnColumns, begin: Floats, end: Floats, *, lanes: int) -> Window | NoWindow:
    first_token = np.full(turns.sessions, np.inf)
    np.fmin.at(first_token, turns.session, turns.first)
    opening = np.argsort(begin, kind="stable")[:lanes]
    start_ns = float(np.minimum(first_token, end)[opening].max())
    after_last_begin = end[end > begin.max()]
    end_ns = float(after_last_begin.min()) if len(after_last_begin) else start_ns
    if start_ns >= end_ns:
        return NoWindow("a lane had drained before every lane had its first token")
    return _longest_plateau(begin, end, start_ns, end_ns)


def _longest_plateau(begin: Floats, end: Floats, start_ns: float, end_ns: float) -> Window:
    """The longest stretch of [start_ns, end_ns) with at least PLATEAU_SHARE of the median number of live sessions."""
    events = np.concatenate([begin, end])
    times = np.unique(np.concatenate([events[(events > start_ns) & (events < end_ns)], [start_ns, end_ns]]))
    pieces = np.diff(times)
    alive = np.searchsorted(np.sort(begin), times[:-1], "right") - np.searchsorted(np.sort(end), times[:-1], "right")
    full = alive >= PLATEAU_SHARE * _weighted_median(alive.astype(np.float64), pieces)
    for first, after in _runs(~full):
        if times[after] - times[first] < BRIDGED_SHARE * (end_ns - start_ns):
            full[first:after] = True
    first, after = max(_runs(full), key=lambda run: float(times[run[1]] - times[run[0]]))
    return Window(float(times[first]), float(times[after]))


def _runs(flags: Flags) -> list[tuple[int, int]]:
    """Half-open index ranges in which `flags` holds."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(after)) for first, after in changes.reshape(-1, 2)]


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])
