"""Times of a turn, a session and a job, in milliseconds. NaN where a time is not defined.

t_due, t_send, t1, ta, tn: when the turn was due, was sent, had its first token, its first answer token, its last token.
N output tokens. "Open" is open loop: the clock starts when the turn was due, so that a late client cannot hide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.core.units import NS_PER_MS
from bench.metrics.columns import Flags, Floats, Ints, TurnColumns


def origin(turns: TurnColumns, open_loop: bool) -> Floats:
    """When a turn's clock starts, which also decides whether it is of the steady window: t_due, or t_send."""
    return turns.due if open_loop else turns.send


def ttft_ms(turns: TurnColumns, *, open_loop: bool) -> Floats:
    """Time to the first token of any kind: t1 − t_due in open loop, t1 − t_send in closed loop."""
    return (turns.first - origin(turns, open_loop)) / NS_PER_MS


def ttfa_ms(turns: TurnColumns, *, open_loop: bool) -> Floats:
    """Time to the first answer token, ta, from the same origin; NaN for a turn that never began to answer."""
    return (turns.answer - origin(turns, open_loop)) / NS_PER_MS


def tpot_ms(turns: TurnColumns) -> Floats:
    """Time per output token after the first: (tn − t1)/(N − 1); NaN for N ≤ 1."""
    gaps = np.where(turns.output_tokens > 1, turns.output_tokens - 1, np.nan)
    per_token: Floats = (turns.last - turns.first) / gaps / NS_PER_MS
    return per_token


def e2e_ms(turns: TurnColumns, *, open_loop: bool) -> Floats:
    """Whole request: tn − t_due in open loop, tn − t_send in closed loop."""
    return (turns.last - origin(turns, open_loop)) / NS_PER_MS


def e2e_ms_per_token(turns: TurnColumns, *, open_loop: bool) -> Floats:
    """Whole request over its output: e2e_ms/N; NaN for N = 0."""
    tokens = np.where(turns.output_tokens > 0, turns.output_tokens, np.nan)
    per_token: Floats = e2e_ms(turns, open_loop=open_loop) / tokens
    return per_token


def schedule_lag_ms(turns: TurnColumns) -> Floats:
    """The client's own lateness: t_send − t_due, less the time a concurrency cap held the turn back."""
    return (turns.send - turns.due - turns.hold) / NS_PER_MS


def hold_ms(turns: TurnColumns) -> Floats:
    """Time a due turn was held back by a concurrency cap."""
    return turns.hold / NS_PER_MS


def itl_ms(turns: TurnColumns, among: Flags) -> tuple[Floats, Ints]:
    """Every gap between consecutive token chunks of the turns in `among`, pooled, and the turn each gap belongs to.

    Tokens that arrived in one chunk have no gap between them.
    """
    chunks = np.flatnonzero(among[turns.chunk_turn])
    owner, t = turns.chunk_turn[chunks], turns.chunk_t[chunks]
    within = owner[1:] == owner[:-1]
    return np.diff(t)[within] / NS_PER_MS, owner[1:][within]


def session_ms(turns: TurnColumns, among: Sequence[int]) -> Floats:
    """First t_due to last tn of each session in `among`, delays between its turns included."""
    begin, end = session_spans(turns)
    chosen = np.fromiter(among, dtype=np.int64)
    return (end[chosen] - begin[chosen]) / NS_PER_MS


def job_ms(turns: TurnColumns, among: Sequence[int]) -> Floats:
    """Length of the union of intervals t_send … tn with a foreground turn in flight, of each session in `among`."""
    rows = np.flatnonzero(turns.foreground & ~np.isnan(turns.last))
    owners = turns.session[rows]
    length = np.bincount(owners, weights=(turns.last - turns.send)[rows], minlength=turns.sessions)
    several = np.bincount(owners, minlength=turns.sessions) > 1  # one turn is its own union
    intervals: dict[int, list[tuple[float, float]]] = {}
    for row in rows[several[owners]]:
        intervals.setdefault(int(turns.session[row]), []).append((float(turns.send[row]), float(turns.last[row])))
    for session, sent in intervals.items():
        length[session] = union_length(sent)
    return length[np.fromiter(among, dtype=np.int64)] / NS_PER_MS


def session_spans(turns: TurnColumns) -> tuple[Floats, Floats]:
    """When each session was first due, and when its last turn gave its last token or failed: (sessions,) each."""
    begin = np.full(turns.sessions, np.inf)
    end = np.full(turns.sessions, -np.inf)
    np.minimum.at(begin, turns.session, turns.due)
    np.maximum.at(end, turns.session, _ended(turns))
    return begin, end


def union_length(intervals: Sequence[tuple[float, float]]) -> float:
    """Length of the union of intervals (begin, end)."""
    length, reached = 0.0, -np.inf
    for begin, end in sorted(intervals):
        length += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return float(length)


def _ended(turns: TurnColumns) -> Floats:
    ended = np.where(turns.ok, turns.last, turns.done)
    return np.where(np.isnan(ended), np.fmax(turns.send, turns.done), ended)
