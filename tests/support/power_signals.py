"""Power whose integral is known, and the meters that see it: exact, refreshed now and then, averaging, part-time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.records import PowerRow
from bench.core.units import NS_PER_S
from bench.metrics.columns import Floats

_EDGE_S = 1e-6


@dataclass(frozen=True)
class Signal:
    """Power in straight lines between knots; before the first and after the last it stays."""

    t_s: Floats
    watts: Floats

    def joules(self, start_s: Floats | float, end_s: Floats | float) -> Floats:
        """Between two times, exactly."""
        return np.asarray(self._to(np.asarray(end_s)) - self._to(np.asarray(start_s)))

    def mean(self, start_s: Floats, end_s: Floats) -> Floats:
        return self.joules(start_s, end_s) / (end_s - start_s)

    def _to(self, t_s: Floats) -> Floats:
        pieces = (self.watts[1:] + self.watts[:-1]) / 2 * np.diff(self.t_s)
        reached = np.concatenate([[0.0], np.cumsum(pieces)])
        at = np.clip(np.searchsorted(self.t_s, t_s, side="right") - 1, 0, len(self.t_s) - 1)
        return reached[at] + (np.interp(t_s, self.t_s, self.watts) + self.watts[at]) / 2 * (t_s - self.t_s[at])


def lines(*knots: tuple[float, float]) -> Signal:
    """Through points of seconds and watts."""
    return Signal(np.array([t for t, _ in knots]), np.array([watts for _, watts in knots]))


def steps(begins_s: Sequence[float], watts: Sequence[float]) -> Signal:
    """Each of `watts` from its beginning to the next."""
    knots: list[tuple[float, float]] = []
    for begin, before, after in zip(begins_s, [watts[0], *watts], watts, strict=False):
        knots += [(begin, before), (begin + _EDGE_S, after)]
    return lines(*knots)


def held(seed: int, *, hold_s: tuple[float, float], watts: tuple[float, float], until_s: float = 70.0) -> Signal:
    """Powers drawn at random, each held for a time drawn at random."""
    chance = random.Random(seed)
    begins = [0.0]
    while begins[-1] < until_s:
        begins.append(begins[-1] + chance.uniform(*hold_s))
    return steps(begins, [chance.uniform(*watts) for _ in begins])


def square(period_s: float, *, high: float, low: float, share: float = 0.5, until_s: float = 70.0) -> Signal:
    """High for a `share` of every period, then low."""
    begins = np.arange(0.0, until_s, period_s)
    return steps(np.column_stack([begins, begins + share * period_s]).ravel().tolist(), [high, low] * len(begins))


def decoding(seed: int, *, until_s: float = 70.0) -> Signal:
    """A GPU of 700 W that decodes: 450 ± 60 W, each power for a tenth of a second, and now and then a prompt at 690."""
    chance = np.random.default_rng(seed)
    watts = chance.normal(450, 60, round(until_s * 10))
    watts[chance.random(len(watts)) < 0.05] = 690
    return steps((np.arange(len(watts)) / 10).tolist(), np.clip(watts, 60, 700).tolist())


def every(interval_s: float, *, until_s: float = 62.0, jitter_s: float = 0.0, seed: int = 0) -> Floats:
    """Times at which a meter is read."""
    times = np.arange(0.0, until_s, interval_s)
    return np.maximum(times + np.random.default_rng(seed).uniform(0, jitter_s, len(times)), 0.0)


def instant(signal: Signal, t_s: Floats) -> Floats:
    return np.interp(t_s, signal.t_s, signal.watts)


def averaged(signal: Signal, t_s: Floats, over_s: float = 1.0) -> Floats:
    return signal.mean(t_s - over_s, t_s)


def part_time(signal: Signal, t_s: Floats, *, looks_s: float = 0.025, every_s: float = 0.1) -> Floats:
    """What a sensor shows that looks for 25 ms of every 100."""
    begun = np.floor((t_s - looks_s) / every_s) * every_s
    return signal.mean(begun, begun + looks_s)


def counter(
    signal: Signal, t_s: Floats, *, refreshed_s: float = 0.0, first_s: float = 0.0, before: float = 5000.0
) -> Floats:
    """Joules since before the run, as known when the counter was last refreshed: at `first_s`, and so on."""
    known = np.floor((t_s - first_s) / refreshed_s) * refreshed_s + first_s if refreshed_s else t_s
    return before + signal.joules(0.0, np.maximum(known, 0.0))


def rows(
    t_s: Floats,
    watts: Floats | None = None,
    joules: Floats | None = None,
    *,
    scope: str = "gpu",
    device: str = "gpu0",
) -> list[PowerRow]:
    return [
        PowerRow(
            t_ns=round(float(t) * NS_PER_S),
            scope=scope,
            device=device,
            watts=None if watts is None else float(watts[i]),
            joules_counter=None if joules is None else float(joules[i]),
        )
        for i, t in enumerate(t_s)
    ]
