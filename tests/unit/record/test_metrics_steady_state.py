"""The steady window on made runs whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.core.records import TurnRow
from bench.core.spec import ClosedLoadSpec, PoissonLoadSpec
from bench.metrics.columns import TurnColumns
from bench.metrics.steady_state import NoWindow, Window, steady_window
from bench.results.batches import table_of

MakeTurn = Callable[..., TurnRow]
MS = 1_000_000


def window_of(rows: Sequence[TurnRow], load: ClosedLoadSpec | PoissonLoadSpec) -> Window | NoWindow:
    return steady_window(TurnColumns.of(table_of("turns", rows), start_ns=0), load)


def closed(concurrency: int) -> ClosedLoadSpec:
    return ClosedLoadSpec(kind="closed", concurrency=concurrency)


POISSON = PoissonLoadSpec(kind="poisson", sessions_per_s=10)


def test_closed_loop_from_the_last_lanes_first_token_to_the_first_drain(make_turn: MakeTurn) -> None:
    rows = [
        make_turn(0, [10, 100], session="a"),
        make_turn(0, [25, 90], session="b"),
        make_turn(90, [95, 200], session="c"),
        make_turn(100, [110, 230], session="d"),
    ]
    assert window_of(rows, closed(2)) == Window(25 * MS, 200 * MS)


def test_a_healthy_short_run_keeps_most_of_itself(closed_loop: Callable[..., list[TurnRow]]) -> None:
    rows = closed_loop(sessions=32, concurrency=4)
    window = window_of(rows, closed(4))
    assert isinstance(window, Window)
    assert window.end_ns - window.start_ns > 0.8 * max(row.t_last_ns or 0 for row in rows)


def test_a_session_that_waits_for_a_tool_is_alive(make_turn: MakeTurn) -> None:
    rows = [
        make_turn(0, [10, 20], session="a"),
        make_turn(500, [510, 520], session="a", index=1),
        make_turn(0, [10, 300], session="b"),
        make_turn(300, [310, 600], session="c"),
    ]
    assert window_of(rows, closed(2)) == Window(10 * MS, 520 * MS)


def test_lanes_that_recycle_their_sessions_are_alive_until_sending_ends(make_turn: MakeTurn) -> None:
    """Both wait for a tool when sending ends at 800 ms."""
    rows = [
        make_turn(0, [10, 300], session="a"),
        make_turn(0, [10, 250], session="b"),
        make_turn(250, [260, 400], session="b+1"),
        make_turn(300, [310, 500], session="a+1"),
    ]
    load = ClosedLoadSpec(kind="closed", concurrency=2, recycle=True)
    turns = TurnColumns.of(table_of("turns", rows), start_ns=0, cut_sessions=("a+1", "b+1"))
    assert steady_window(turns, load, stop_ns=800 * MS) == Window(10 * MS, 800 * MS)


def test_a_long_dip_in_live_sessions_splits_the_run(make_turn: MakeTurn) -> None:
    """One of two lanes stands idle from 100 to 300 ms; the longer stretch at full load is after it."""
    rows = [
        make_turn(0, [10, 100], session="a"),
        make_turn(0, [10, 500], session="b"),
        make_turn(300, [310, 900], session="c"),
        make_turn(500, [510, 900], session="d"),
    ]
    assert window_of(rows, closed(2)) == Window(300 * MS, 900 * MS)


def test_more_lanes_than_sessions(make_turn: MakeTurn) -> None:
    rows = [make_turn(0, [10, 100], session="a"), make_turn(0, [20, 80], session="b")]
    assert window_of(rows, closed(64)) == Window(20 * MS, 80 * MS)


def test_no_window_when_a_lane_drains_before_all_began(make_turn: MakeTurn) -> None:
    rows = [make_turn(0, [10, 20], session="a"), make_turn(0, [30, 40], session="b")]
    found = window_of(rows, closed(2))
    assert isinstance(found, NoWindow)
    assert "drained before" in found.reason


def test_a_failed_first_session_does_not_hide_the_window(make_turn: MakeTurn) -> None:
    rows = [
        make_turn(0, [], session="a", status="failed", t_done_ns=5 * MS),
        make_turn(0, [20, 90], session="b"),
        make_turn(5, [30, 200], session="c"),
        make_turn(90, [95, 180], session="d"),
    ]
    assert window_of(rows, closed(2)) == Window(20 * MS, 180 * MS)


def test_poisson_from_the_first_end_to_the_last_arrival(make_turn: MakeTurn) -> None:
    rows = [
        make_turn(0, [10, 90], session="a"),
        make_turn(30, [40, 60], session="b"),
        make_turn(200, [210, 300], session="c"),
    ]
    assert window_of(rows, POISSON) == Window(60 * MS, 200 * MS)


def test_poisson_without_overlap_of_end_and_arrival_has_none(make_turn: MakeTurn) -> None:
    found = window_of([make_turn(0, [10, 90], session="a"), make_turn(30, [40, 95], session="b")], POISSON)
    assert isinstance(found, NoWindow)


def test_an_empty_log_has_no_window() -> None:
    assert window_of([], closed(2)) == NoWindow("no turn was sent")
