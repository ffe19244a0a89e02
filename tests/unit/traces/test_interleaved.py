"""Sessions that run at the same time are gathered in bounded memory, and leave in the order they began."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.core.sessions import Session
from bench.workload.traces import interleaved
from bench.workload.traces.format import Reading
from bench.workload.traces.importer import open_trace
from bench.workload.traces.interleaved import IDLE_S, OpenSessions

Row = tuple[float, str]


def gathered(rows: list[Row]) -> list[list[Row]]:
    held: OpenSessions[Row] = OpenSessions()
    sessions = []
    for time_s, name in rows:
        held.add((time_s, name), time_s, joins=name or None, name=name or None)
        sessions += held.complete(time_s)
    sessions += held.rest()
    assert len(held) == 0
    return sessions


GAPS = st.integers(0, 4500).map(float)
ROWS = st.lists(st.tuples(GAPS, st.sampled_from(["", "a", "b", "c"])), max_size=30)


@given(ROWS)
def test_a_session_is_its_rows_until_an_hour_passes_without_one(gaps: list[Row]) -> None:
    rows: list[Row] = []
    now_s = 0.0
    for gap_s, name in gaps:
        now_s += gap_s
        rows.append((now_s, name))
    sessions = gathered(rows)
    assert sorted(row for session in sessions for row in session) == sorted(rows)
    assert [session[0][0] for session in sessions] == sorted(session[0][0] for session in sessions)
    for session in sessions:
        assert len({name for _, name in session}) == 1
        assert session[0][1] or len(session) == 1
    for name in "abc":
        times = [time_s for time_s, of in rows if of == name]
        close = sum(later - earlier < IDLE_S for earlier, later in pairwise(times))
        assert sum(session[0][1] == name for session in sessions) == len(times) - close


def test_one_that_was_silent_for_an_hour_begins_again() -> None:
    rows = [(0.0, "a"), (10.0, "b"), (IDLE_S + 5, "b"), (IDLE_S + 6, "a"), (IDLE_S + 7, "a")]
    assert gathered(rows) == [[rows[0]], [rows[1], rows[2]], [rows[3], rows[4]]]


def test_rows_that_nothing_can_join_leave_at_once_but_not_before_who_began_earlier() -> None:
    held: OpenSessions[int] = OpenSessions()
    held.add(1, 0.0)
    assert list(held.complete(0.0)) == [[1]]
    held.add(2, 1.0, name="a")
    held.add(3, 1.0)
    assert list(held.complete(1.0)) == []
    held.add(4, 2.0, joins="a", name="a")
    assert list(held.complete(2.0 + IDLE_S)) == [[2, 4], [3]]


def test_when_too_many_rows_are_held_the_oldest_session_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "MOST_HELD", 4)
    path = tmp_path / "rows.csv"
    rows = [f"{second},{session},10,5" for second, session in enumerate("abcabcabc")]
    path.write_text("\n".join(["Timestamp,Session ID,Request tokens,Response tokens", *rows]))
    items = [item for item in open_trace(path, Reading()).items if isinstance(item, Session)]
    assert sum(len(item.turns) for item in items) == 9
    assert [item.arrival_s for item in items] == sorted(item.arrival_s or 0.0 for item in items)
    assert len({item.id for item in items}) == len(items) > 3


def test_a_row_that_tells_only_what_is_new_cannot_begin_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"session_id": "a", "input_length": 10, "output_length": 5}
    rows = [{**row, "timestamp": 0}, {**row, "timestamp": 9000}, {**row, "timestamp": 1000 * (IDLE_S + 9)}]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(
        InputError, match=r"rows\.jsonl:3: session a goes on too late \(allowed: rows of a session less"
    ):
        list(open_trace(path, Reading()).items)
