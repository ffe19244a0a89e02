"""What the sessions were like: where their time went, what of their prompts was computed twice, who waited for whom.

A session is busy while a foreground turn of it is in flight. What is left of its time is waiting for a tool where one
of its turns did, else waiting for a human where one did; the rest is the client's and the queue's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bench.core.records import Headline
from bench.core.units import NS_PER_MS
from bench.metrics.columns import Flags, Floats, TurnColumns
from bench.metrics.latency import job_ms, session_ms, union_length
from bench.metrics.percentiles import CELLS
from bench.metrics.statistics import Confidence, absent, ratio
from bench.metrics.steady_state import Window
from bench.metrics.throughput import slice_edges, sum_by_slice
from bench.metrics.timeline import Intervals, Timeline


def sessions_section(
    turns: TurnColumns, among: Sequence[int], window: Window, confidence: Confidence
) -> dict[str, Any]:
    """Shares of the time of the sessions in `among`, of the prompt tokens of the window, and of the window itself."""
    return {
        "whole": len(among),
        "time": _time_shares(turns, among, confidence),
        "prefix_reuse": _prefix_reuse(turns, window, confidence),
        "idle": _idle_shares(turns, window, confidence),
    }


def _time_shares(turns: TurnColumns, among: Sequence[int], confidence: Confidence) -> dict[str, Headline]:
    """Where the time of sessions went, as shares of the sum of their `session_ms`."""
    spans = _in_cells(session_ms(turns, among))
    tool, human = _waited_ms(turns, among)
    return {
        "busy_share": ratio(_in_cells(job_ms(turns, among)), spans, confidence),
        "tool_wait_share": ratio(_in_cells(tool), spans, confidence),
        "human_wait_share": ratio(_in_cells(human), spans, confidence),
    }


def _in_cells(of_sessions: Floats) -> Floats:
    """Sums of at most CELLS groups of neighbours, which are resampled together."""
    n = len(of_sessions)
    return np.bincount(np.arange(n) * min(CELLS, n) // max(n, 1), weights=of_sessions).astype(np.float64)


def _waited_ms(turns: TurnColumns, among: Sequence[int]) -> tuple[Floats, Floats]:
    """How long each session in `among` waited for tools alone, and for humans alone."""
    rows_of: dict[int, list[int]] = {session: [] for session in among}
    waiting = np.bincount(turns.session, weights=turns.after_tool | turns.after_human, minlength=turns.sessions) > 0
    for row in np.flatnonzero(waiting[turns.session]):
        if (session := int(turns.session[row])) in rows_of:
            rows_of[session].append(int(row))
    answered = turns.foreground & ~np.isnan(turns.last)
    waited = np.zeros((len(rows_of), 2))
    for place, rows in enumerate(rows_of.values()):
        held = [(turns.send[row], turns.last[row]) for row in rows if answered[row]]
        busy = union_length(held)
        held += _waits(turns, rows, turns.after_tool)
        with_tools = union_length(held)
        held += _waits(turns, rows, turns.after_human)
        waited[place] = with_tools - busy, union_length(held) - with_tools
    return waited[:, 0] / NS_PER_MS, waited[:, 1] / NS_PER_MS


def _waits(turns: TurnColumns, rows: Iterable[int], of_kind: Flags) -> list[tuple[float, float]]:
    return [(turns.due[row] - turns.delay[row], turns.due[row]) for row in rows if of_kind[row]]


def _prefix_reuse(turns: TurnColumns, window: Window, confidence: Confidence) -> dict[str, Any]:
    """What was served from a prefix cache against the most that could have been, of turns answered in the window."""
    edges, counted = slice_edges(window), window.holds(turns.first)
    first = turns.first[counted]
    prompt = sum_by_slice(first, turns.prompt_tokens[counted], edges)
    shared = sum_by_slice(first, turns.shared_tokens[counted], edges)
    achievable = ratio(shared, prompt, confidence)
    if np.isnan(turns.cached_tokens[counted]).any():
        silent = absent("the engine does not say which prompt tokens were cached", confidence.level)
        return {"achievable": achievable, "achieved": silent, "of_achievable": silent, "recomputed_tokens": None}
    served = np.minimum(turns.cached_tokens, turns.shared_tokens)[counted]
    cached = sum_by_slice(first, turns.cached_tokens[counted], edges)
    return {
        "achievable": achievable,
        "achieved": ratio(cached, prompt, confidence),
        "of_achievable": ratio(sum_by_slice(first, served, edges), shared, confidence),
        "recomputed_tokens": int((turns.shared_tokens[counted] - served).sum()),
    }


def _idle_shares(turns: TurnColumns, window: Window, confidence: Confidence) -> dict[str, Headline]:
    """Shares of the window in which nothing was in flight: while a tool was waited for, and while only humans were.

    A wait counts from its beginning to the turn's being due; one that the end of the run cut is in no table.
    """
    flying = Intervals.of(turns.send, np.fmax(turns.done, turns.last))
    tool, human = (
        Intervals.of((turns.due - turns.delay)[chosen], turns.due[chosen])
        for chosen in (turns.after_tool, turns.after_human)
    )
    timeline = Timeline(slice_edges(window), flying, tool, human)
    idle, for_tool = ~flying.hold_at(timeline.t), tool.hold_at(timeline.t)
    only_human = human.hold_at(timeline.t) & ~for_tool
    whole = timeline.length(np.ones(len(timeline.t), dtype=np.bool_))
    return {
        "tool_wait_share": ratio(timeline.length(idle & for_tool), whole, confidence),
        "human_wait_share": ratio(timeline.length(idle & only_human), whole, confidence),
        "share": ratio(timeline.length(idle), whole, confidence),
    }
