"""Sessions begun in their middle: what is left of them, and what is computed before them."""

from __future__ import annotations

from dataclasses import replace

from driving import MOCK, chain, drive, turn
from hypothesis import given
from hypothesis import strategies as st

from bench.core.sessions import Session, Turn
from bench.core.spec import ClosedLoadSpec
from bench.engine.mock import MockEngine
from bench.load.driver import BROKEN_OFF
from bench.load.random_start import begun_at, random_start

FAN = Session(
    "fan",
    (
        turn(0, ()),
        turn(1, (0,), agent=1),
        turn(2, (1,), agent=1),
        turn(3, (0,), agent=2, foreground=False),
        turn(4, (0, 2), delay_s=3.0, delay_class="tool"),
        turn(5, (4,), delay_s=2.0, delay_class="tool"),
    ),
)
"""An agent that spawns one sub-agent and waits for it, and one that it leaves in the background."""


def test_left_is_what_depends_on_the_turn_begun_at() -> None:
    warm_up, left = begun_at(FAN, 4)
    assert [(one.index, one.after, one.delay_s) for one in left] == [(4, (), 0.0), (5, (4,), 2.0)]
    assert warm_up is not None
    assert (warm_up.index, warm_up.output_tokens, warm_up.after) == (0, 1, ())
    assert warm_up.prompt == FAN.turns[0].prompt


def test_a_branch_begun_at_is_joined_without_what_ran_beside_it() -> None:
    warm_up, left = begun_at(FAN, 2)
    assert [(one.index, one.after) for one in left] == [(2, ()), (4, (2,)), (5, (4,))]
    assert warm_up is not None
    assert warm_up.index == 1


def test_a_session_begun_at_its_first_turn_is_whole() -> None:
    assert begun_at(FAN, 0) == (None, FAN.turns)


@st.composite
def dags(draw: st.DrawFn) -> Session:
    turns: list[Turn] = []
    for index in range(draw(st.integers(1, 12))):
        after = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        turns.append(turn(index, tuple(sorted(after)), agent=draw(st.integers(0, 2))))
    return Session("dag", (replace(turns[0], agent=0), *turns[1:]))


@given(session=dags(), lane=st.integers(0, 50))
def test_whatever_is_begun_at_can_be_sent_to_its_end(session: Session, lane: int) -> None:
    warm_up, left = random_start(session, 7, lane)
    assert (warm_up, left) == random_start(session, 7, lane)
    indices = {one.index for one in left}
    assert [one for one in left if not one.after] == [left[0]]
    assert all(set(one.after) <= indices for one in left)
    assert (warm_up is None) == (session.turns[left[0].index].after == ())
    assert warm_up is None or warm_up.index not in indices


def test_lanes_warm_up_and_then_begin_anywhere() -> None:
    sessions = [chain(f"s{i}", 40) for i in range(24)]
    load = ClosedLoadSpec(kind="closed", concurrency=20, random_start=True, seed=1)
    rows, driver = drive(sessions, load)
    begun = {row.session_id: row.turn_index for row in sorted(rows, key=lambda row: -row.t_send_ns) if not row.warmup}
    lanes = [f"s{i}" for i in range(20)]
    assert len({begun[name] for name in lanes}) > 10
    assert [begun[f"s{i}"] for i in range(20, 24)] == [0] * 4
    warm = {row.session_id: row for row in rows if row.warmup}
    assert set(warm) == {name for name in lanes if begun[name]}
    for name, row in warm.items():
        assert (row.turn_index, row.asked_output_tokens, row.t_send_ns) == (begun[name] - 1, 1, 0)
        (first,) = [one for one in rows if (one.session_id, one.turn_index) == (name, begun[name])]
        assert first.t_due_ns == row.t_done_ns
    assert driver.progress.turns_planned == driver.progress.turns_done == len(rows) - len(warm)
    assert rows_repeat(sessions, load, begun)


def rows_repeat(sessions: list[Session], load: ClosedLoadSpec, begun: dict[str, int]) -> bool:
    again, _ = drive(sessions, load)
    return {
        row.session_id: row.turn_index for row in sorted(again, key=lambda row: -row.t_send_ns) if not row.warmup
    } == begun


def test_a_lane_whose_warm_up_fails_ends_its_session_and_goes_on() -> None:
    ended: list[str] = []

    class Failing(MockEngine):
        async def end_session(self, session_id: str) -> None:
            ended.append(session_id)

    load = ClosedLoadSpec(kind="closed", concurrency=1, random_start=True, seed=1)
    failing = MOCK.model_copy(update={"fail_every": 1})
    rows, driver = drive([chain("a", 40), chain("b", 1)], load, engine=lambda clock: Failing(failing, clock=clock))
    assert [(row.session_id, row.warmup, row.status) for row in rows] == [("a", True, "failed"), ("b", False, "failed")]
    assert ended == ["a", "b"]
    assert driver.progress.turns_planned == 1 + driver.progress.not_sent[BROKEN_OFF]
