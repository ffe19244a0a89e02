"""What is wrong with power readings: another clock than the run's, gaps, counters that went back, frozen sensors."""

from __future__ import annotations

import numpy as np

from bench.core.units import NS_PER_S, seconds_from_ns
from bench.metrics.columns import Floats

MAX_GAP_S = 3.0
SKEW = 0.003
"""What two clocks may drift apart, as a share of the time: a counter's energy is wrong by as much."""
_BUSY_S = 0.25
"""What a machine with much else to do may take to read once more."""
FROZEN_READINGS = 20
"""So many equal readings in a row, over more than MAX_GAP_S, are of a sensor that froze: power is never that even."""


def clock_fault(t: Floats, run_ns: float | None) -> str | None:
    """What is wrong with times in the order of their log, (n,), if anything.

    The last reading of a run is taken when it has ended, `run_ns` after its start, or was new then. One that lies
    further from there than pauses between readings, a busy machine and SKEW of the run explain has another clock, or is
    not the last.
    """
    if len(t) < 2:
        return None
    pauses = np.diff(t)
    if (back := float(pauses.min())) < 0:
        return f"the clock of the readings went back by {seconds_from_ns(-back):.3g} s"
    if run_ns is None:
        return None
    late = float(t[-1]) - run_ns
    usual = float(np.quantile(pauses[t[1:] >= 0], 0.95)) if t[-1] >= 0 else 0.0
    # A meter that was slow to answer when the run ended is asked once more only then.
    if abs(late) <= max(1.5 * max(usual, float(pauses[-1])), _BUSY_S * NS_PER_S, SKEW * run_ns):
        return None
    side = "after" if late > 0 else "before"
    off_s = seconds_from_ns(abs(late))
    return f"the last reading lies {off_s:.3g} s {side} the run's end: not by its clock, or cut off"


def gap_fault(t: Floats, start_ns: float, end_ns: float, told: str = "a gap of {:.1f} s in the readings") -> str | None:
    """Whether ascending times `t` leave more than MAX_GAP_S of `start_ns` … `end_ns` open, or do not enclose it."""
    if len(t) == 0:
        return "not read"
    if t[0] > start_ns or t[-1] < end_ns:
        return "the readings do not enclose the steady window"
    first, after = enclosing(t, start_ns, end_ns)
    gap_s = seconds_from_ns(float(np.diff(t[first:after]).max(initial=0.0)))
    return f"{told.format(gap_s)}, more than {MAX_GAP_S:g} s" if gap_s > MAX_GAP_S else None


def counter_fault(value: Floats) -> str | None:
    """What is wrong with the values of an energy counter in the order of time, (n,)."""
    steps = np.diff(value)
    if (back := float(steps.min(initial=0.0))) < 0:
        return f"it went back by {-back:.4g} J, as a counter does that is reset or wraps"
    return None if (steps > 0).any() else "the readings do not move"


def frozen_fault(t: Floats, value: Floats) -> str | None:
    """Whether a sensor told one value, (n,), in so many readings `t` over so long that it no longer measured."""
    changes = np.flatnonzero(np.diff(value)) + 1
    first, after = np.concatenate([[0], changes]), np.concatenate([changes, [len(value)]])
    held_s = (t[after - 1] - t[first]) / NS_PER_S
    frozen = (after - first >= FROZEN_READINGS) & (held_s > MAX_GAP_S)
    if not frozen.any():
        return None
    worst = int(np.argmax(held_s * frozen))
    return f"frozen: {value[first[worst]]:.6g} W in {after[worst] - first[worst]} readings over {held_s[worst]:.1f} s"


def enclosing(t: Floats, start_ns: float, end_ns: float) -> tuple[int, int]:
    """The half-open index range of the fewest readings that enclose `start_ns` … `end_ns`."""
    first = int(np.searchsorted(t, start_ns, side="right")) - 1
    return first, int(np.searchsorted(t, end_ns, side="left")) + 1
