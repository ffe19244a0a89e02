"""Turns that cannot be asked are left out by reason, and those behind them wait as long as before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.core.sessions import Segment, Session, Turn
from bench.workload.stream import NO_OUTPUT, NO_PROMPT, LeftOut, askable

PROMPT = (Segment("a", 3),)


def turn(index: int, *after: int, delay_s: float = 1.0, output: int = 5, prompt: tuple[Segment, ...] = PROMPT) -> Turn:
    return Turn(index, prompt, output, after=after, delay_s=delay_s, delay_class="tool" if after else "none")


def kept(*turns: Turn) -> tuple[list[str], list[tuple[tuple[int, ...], float, str]]]:
    """Reasons of what is left out, and the dependencies of what is kept."""
    items = list(askable([Session("s", turns, 2.5)]))
    reasons = [item.reason for item in items if isinstance(item, LeftOut)]
    sessions = [item for item in items if isinstance(item, Session)]
    assert all(session.arrival_s == 2.5 for session in sessions)
    assert all([t.index for t in session.turns] == list(range(len(session.turns))) for session in sessions)
    return reasons, [(t.after, t.delay_s, t.delay_class) for session in sessions for t in session.turns]


def test_what_can_be_asked_stays_as_it_is() -> None:
    items = [Session("s", (turn(0), turn(1, 0))), LeftOut("why", 3)]
    assert list(askable(items)) == items


def test_a_turn_left_out_hands_its_wait_on() -> None:
    turns = turn(0), turn(1, 0, delay_s=4.0, output=0), turn(2, 1, delay_s=0.5, prompt=()), turn(3, 2, delay_s=2.0)
    assert kept(*turns) == ([NO_OUTPUT, NO_PROMPT], [((), 1.0, "none"), ((0,), 6.5, "tool")])


def test_what_followed_a_first_turn_left_out_follows_nothing() -> None:
    assert kept(turn(0, delay_s=4.0, output=0), turn(1, 0)) == ([NO_OUTPUT], [((), 5.0, "none")])


def test_a_join_waits_once_for_whom_several_waited() -> None:
    turns = turn(0), turn(1, 0, delay_s=3.0, output=0), turn(2, 0), turn(3, 0, 1, 2), turn(4, 1, 3)
    assert kept(*turns) == (
        [NO_OUTPUT], [((), 1.0, "none"), ((0,), 1.0, "tool"), ((0, 1), 4.0, "tool"), ((0, 2), 4.0, "tool")],
    )  # fmt: skip


def test_a_session_of_nothing_is_none() -> None:
    assert kept(turn(0, output=0), turn(1, 0, prompt=())) == ([NO_OUTPUT, NO_PROMPT], [])


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    count = draw(st.integers(1, 8))
    return Session(
        "s",
        tuple(
            turn(
                index,
                *sorted(draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else ()),
                delay_s=float(draw(st.integers(0, 5))),
                output=draw(st.integers(0, 1)),
            )
            for index in range(count)
        ),
    )


def due_s(session: Session, took_s: dict[int, float]) -> list[float]:
    """When each turn is due if those with output take so long."""
    done: list[float] = []
    due: list[float] = []
    for one in session.turns:
        due.append(max((done[index] for index in one.after), default=0.0) + one.delay_s)
        done.append(due[-1] + took_s[one.index])
    return due


@given(sessions())
def test_nothing_is_due_before_it_was(session: Session) -> None:
    items = list(askable([session]))
    asked = [one for one in session.turns if one.output_tokens]
    assert sum(item.turns for item in items if isinstance(item, LeftOut)) + len(asked) == len(session.turns)
    left = [item for item in items if isinstance(item, Session)]
    assert [len(item.turns) for item in left] == ([len(asked)] if asked else [])
    if asked:
        took_s = {one.index: 10.0 * (one.output_tokens > 0) for one in session.turns}
        before = [due for one, due in zip(session.turns, due_s(session, took_s), strict=True) if one.output_tokens]
        after = due_s(left[0], dict.fromkeys(range(len(asked)), 10.0))
        assert all(late >= early for early, late in zip(before, after, strict=True))
