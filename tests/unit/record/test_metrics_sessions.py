"""Where the sessions' time went, by hand-made runs whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.core.records import TurnRow
from bench.metrics.columns import TurnColumns
from bench.metrics.latency import e2e_ms_per_token
from bench.metrics.sessions import sessions_section
from bench.metrics.statistics import Confidence
from bench.metrics.steady_state import Window
from bench.metrics.throughput import slice_edges
from bench.metrics.timeline import Intervals, Timeline
from bench.results.batches import table_of

MakeTurn = Callable[..., TurnRow]
MS = 1_000_000
CONFIDENCE = Confidence(level=0.95, seed=0)
WINDOW = Window(0, 1000 * MS)


def section_of(*rows: TurnRow, window: Window = WINDOW) -> dict[str, Any]:
    turns = TurnColumns.of(table_of("turns", rows), start_ns=0)
    return sessions_section(turns, range(turns.sessions), window, CONFIDENCE)


def waited(kind: str, ms: float) -> dict[str, Any]:
    return {"delay_class": kind, "delay_ns": round(ms * MS)}


def test_a_sessions_time_is_busy_or_waits_for_a_tool_or_a_human(make_turn: MakeTurn) -> None:
    """100 ms busy, 300 for a tool, 100 busy, 400 for a human, 100 busy."""
    time = section_of(
        make_turn(0, [50, 100]),
        make_turn(400, [450, 500], index=1, **waited("tool", 300)),
        make_turn(900, [950, 1000], index=2, **waited("human", 400)),
    )["time"]
    assert {name: headline.value for name, headline in time.items()} == {
        "busy_share": pytest.approx(0.3),
        "tool_wait_share": pytest.approx(0.3),
        "human_wait_share": pytest.approx(0.4),
    }


def test_a_tool_waited_for_beside_a_turn_in_flight_costs_no_time(make_turn: MakeTurn) -> None:
    time = section_of(
        make_turn(0, [50, 100]),
        make_turn(100, [150, 500], index=1),
        make_turn(300, [350, 400], index=2, **waited("tool", 200)),
    )["time"]
    assert time["tool_wait_share"].value == 0
    assert time["busy_share"].value == pytest.approx(1)


def test_the_engine_is_idle_while_every_session_waits(make_turn: MakeTurn) -> None:
    """In flight: 0-100, 60-200, 500-600, 900-1000. Tools: 100-500 and 600-700; a human: 200-900."""
    idle = section_of(
        make_turn(0, [50, 100], session="a"),
        make_turn(500, [550, 600], session="a", index=1, **waited("tool", 400)),
        make_turn(60, [90, 200], session="b"),
        make_turn(900, [950, 1000], session="b", index=1, **waited("human", 700)),
        make_turn(700, [], session="c", t_done_ns=700 * MS, status="failed", **waited("tool", 100)),
    )["idle"]
    assert idle["tool_wait_share"].value == pytest.approx(0.4)  # 200-500 and 600-700
    assert idle["human_wait_share"].value == pytest.approx(0.2)  # 700-900
    assert idle["share"].value == pytest.approx(0.6)


def test_only_the_part_of_a_wait_within_the_window_counts(make_turn: MakeTurn) -> None:
    idle = section_of(
        make_turn(0, [50, 100]),
        make_turn(900, [950, 990], index=1, **waited("tool", 800)),
        window=Window(80 * MS, 300 * MS),
    )["idle"]
    assert idle["tool_wait_share"].value == pytest.approx(200 / 220)


def test_reuse_is_held_against_what_could_have_been_reused(make_turn: MakeTurn) -> None:
    reuse = section_of(
        make_turn(0, [100, 200], session="a", prompt_tokens=1000, shared_tokens=0, cached_tokens=0),
        make_turn(0, [300, 400], session="b", prompt_tokens=1000, shared_tokens=800, cached_tokens=200),
    )["prefix_reuse"]
    assert reuse["achievable"].value == pytest.approx(0.4)
    assert reuse["achieved"].value == pytest.approx(0.1)
    assert reuse["of_achievable"].value == pytest.approx(0.25)
    assert reuse["recomputed_tokens"] == 600


def test_reuse_of_a_silent_engine_is_null(make_turn: MakeTurn) -> None:
    reuse = section_of(make_turn(0, [100, 200], shared_tokens=5, cached_tokens=None))["prefix_reuse"]
    assert reuse["achievable"].value == pytest.approx(0.5)
    assert (reuse["achieved"].value, reuse["recomputed_tokens"]) == (None, None)


def test_a_timeline_measures_what_holds() -> None:
    chance = np.random.default_rng(3)
    begin = chance.uniform(-100, 1000, 200)
    intervals = Intervals.of(begin, begin + chance.uniform(-2, 9, 200))
    edges = slice_edges(Window(0, 960))
    timeline = Timeline(edges, intervals)
    held = timeline.length(intervals.hold_at(timeline.t))
    grid = np.arange(0.005, 960, 0.01)
    assert held.sum() == pytest.approx(0.01 * intervals.hold_at(grid).sum(), abs=1)
    assert timeline.length(np.ones(len(timeline.t), dtype=np.bool_)) == pytest.approx(np.diff(edges))


def test_time_per_token_of_a_whole_request(make_turn: MakeTurn) -> None:
    turns = TurnColumns.of(
        table_of("turns", [make_turn(0, [50, 60, 100, 120], send_ms=20), make_turn(30, [])]), start_ns=0
    )
    assert e2e_ms_per_token(turns, open_loop=False)[0] == 25
    assert e2e_ms_per_token(turns, open_loop=True)[0] == 30
    assert np.isnan(e2e_ms_per_token(turns, open_loop=True)[1])
