"""Percentiles of several runs over the turns that were counted in all of them, resampled together.

Runs of one workload are asked the same turns, so a long prompt is long in each of them. Sessions are drawn, and a draw
is that of every run: what the runs have in common then cancels where percentiles of two of them are subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from bench.core.records import Basis, Headline
from bench.metrics import latency
from bench.metrics.columns import Flags, Floats, Ints, TurnColumns
from bench.metrics.percentiles import CELLS, needed, rank_name, resampled_percentiles
from bench.metrics.statistics import RESAMPLES, WITHIN_RUN, Confidence, absent, block_weights, headline

LatencyName = Literal["ttft_ms", "tpot_ms", "itl_ms", "e2e_ms"]
PAIRED = "block bootstrap of sessions within the run, turns paired"


@dataclass(frozen=True)
class CountedTurns:
    """The turns of one run."""

    turns: TurnColumns
    counted: Flags
    """Which of them the run's latencies are of, (n,)."""
    open_loop: bool

    @property
    def stamped(self) -> bool:
        """Whether the engine stamped every chunk of the counted turns."""
        of_counted = self.counted[self.turns.chunk_turn]
        return bool(of_counted.any()) and not np.isnan(self.turns.chunk_engine_t[of_counted]).any()

    def at_the_engine(self) -> Self:
        """The same turns with the engine's own stamps in place of the client's."""
        turns = self.turns
        first, last = (np.full(len(turns), np.nan) for _ in range(2))
        # Of several values for one place numpy keeps the last.
        last[turns.chunk_turn] = turns.chunk_engine_t
        first[turns.chunk_turn[::-1]] = turns.chunk_engine_t[::-1]
        return replace(self, turns=replace(turns, first=first, last=last, chunk_t=turns.chunk_engine_t))


@dataclass(frozen=True)
class Percentiles:
    """Of one run at several ranks, or a sum of some."""

    values: Floats
    """(ranks,); NaN where there is nothing they could be of."""
    resampled: Floats
    """(ranks, resamples)"""
    n: int
    """How many observations they are of: of a sum the least."""

    def __add__(self, other: Percentiles) -> Percentiles:
        return Percentiles(self.values + other.values, self.resampled + other.resampled, min(self.n, other.n))

    def __sub__(self, other: Percentiles) -> Percentiles:
        return Percentiles(self.values - other.values, self.resampled - other.resampled, min(self.n, other.n))


class PairedTurns:
    """The turns that were counted in every one of `runs`, in the order in which the first of these sent them."""

    def __init__(self, runs: Sequence[CountedTurns], ranks: Sequence[float], confidence: Confidence) -> None:
        self._ranks = ranks
        self._confidence = confidence
        self._runs = runs
        rows = [_counted_rows(run) for run in runs]
        common = set(rows[0]).intersection(*rows[1:])
        paired = [key for key in rows[0] if key in common]
        self.n = len(paired)
        self._rows = [np.array([of[key] for key in paired], dtype=np.int64) for of in rows]
        self._cells = _cells([session for session, _ in paired])
        self._cell_count = len(np.unique(self._cells))
        self._weights = block_weights(max(1, self._cell_count), confidence.seed)

    def percentiles(self, name: LatencyName, run: int, *, at_the_engine: bool = False) -> Percentiles:
        """Of latency `name` in run number `run`, as the client saw it, or as the engine stamped it."""
        seen = self._runs[run].at_the_engine() if at_the_engine else self._runs[run]
        values, place = _values(seen, self._rows[run], name)
        if len(values) == 0:
            nothing = np.full((len(self._ranks), RESAMPLES), np.nan)
            return Percentiles(nothing[:, 0], nothing, 0)
        resampled = resampled_percentiles(values, self._cells[place], self._weights, self._ranks)
        return Percentiles(np.quantile(values, self._ranks).astype(np.float64), np.stack(resampled), len(values))

    def headline(self, of: Percentiles, at: int, *, n: int, basis: Basis = "measured") -> Headline:
        """`of` at the `at`-th rank; null where `n` observations cannot support that."""
        level, rank = self._confidence.level, self._ranks[at]
        if n < (least := needed(rank, level)):
            reason = f"{rank_name(rank)} needs {least} observations that every run counted, there are {n}"
            return absent(reason, level, n=n, basis=basis)
        value = float(of.values[at])
        made = headline(value, of.resampled[at], cells=self._cell_count, level=level, n=n, basis=basis)
        return replace(made, method=PAIRED) if made.method == WITHIN_RUN else made


def _counted_rows(run: CountedTurns) -> dict[tuple[str, int], int]:
    """Row of each counted turn by its session and its place there, in the order of sending."""
    turns = run.turns
    return {
        (turns.session_ids[turns.session[row]], int(turns.turn_index[row])): int(row)
        for row in np.flatnonzero(run.counted)
    }


def _cells(sessions: Sequence[str]) -> Ints:
    """Group of consecutive sessions that each turn is resampled with, given the session of each turn."""
    number: dict[str, int] = {}
    numbers = [number.setdefault(session, len(number)) for session in sessions]
    return np.array(numbers, dtype=np.int64) * min(CELLS, len(number)) // max(1, len(number))


def _values(seen: CountedTurns, rows: Ints, name: LatencyName) -> tuple[Floats, Ints]:
    """The latencies of the turns in `rows`, none NaN, and the place in `rows` that each is of."""
    turns = seen.turns
    if name == "itl_ms":
        among = np.zeros(len(turns), dtype=np.bool_)
        among[rows] = True
        place = np.empty(len(turns), dtype=np.int64)
        place[rows] = np.arange(len(rows))
        gaps, owner = latency.itl_ms(turns, among)
        return gaps, place[owner]
    values = _of_each_turn(turns, name, open_loop=seen.open_loop)[rows]
    defined = np.flatnonzero(~np.isnan(values))
    return values[defined], defined


def _of_each_turn(turns: TurnColumns, name: LatencyName, *, open_loop: bool) -> Floats:
    match name:
        case "ttft_ms":
            return latency.ttft_ms(turns, open_loop=open_loop)
        case "tpot_ms":
            return latency.tpot_ms(turns)
        case _:
            return latency.e2e_ms(turns, open_loop=open_loop)
