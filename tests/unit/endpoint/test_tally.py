"""Tokens are as many as the server says, and lie where its events were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.core.records import Chunk
from bench.engine.http.tally import Tally


def tally(*events: tuple[int, str] | int, keep_text: bool = False) -> Tally:
    """Of events with a time and a text; those without text are a time alone."""
    counted = Tally(keep_text=keep_text)
    for event in events:
        if isinstance(event, int):
            counted.add_silent(event)
        else:
            counted.add(event[0], "answer", event[1])
    return counted


def chunks(counted: Tally, tokens: int | None) -> list[Chunk]:
    return list(counted.chunks(counted.counts(tokens)))


def told(counted: Tally, tokens: int | None) -> list[tuple[int, int]]:
    return [(chunk.t_ns, chunk.n_tokens) for chunk in chunks(counted, tokens)]


def test_each_event_with_text_counts_one_and_those_of_one_time_are_one_chunk() -> None:
    assert told(tally((1, "a"), (1, "b"), (2, "c"), 3), None) == [(1, 2), (2, 1)]


def test_tokens_the_server_tells_beyond_them_are_events_without_text() -> None:
    assert told(tally((1, "a"), 2, (3, "c"), 4), 3) == [(1, 1), (2, 1), (3, 1)]
    assert told(tally((1, "a"), 2, (3, "c"), 4), 4) == [(1, 1), (2, 1), (3, 1), (4, 1)]


def test_what_no_event_stands_for_is_spread_by_length_of_text() -> None:
    assert told(tally((1, "aa"), (2, "aaaaaa")), 6) == [(1, 2), (2, 4)]


def test_too_many_events_share_the_tokens_there_were() -> None:
    assert told(tally((1, "a"), (2, "a"), (3, "a"), (4, "a")), 2) == [(1, 1), (3, 1)]


def test_the_first_event_keeps_its_token() -> None:
    assert told(tally((1, "a"), (2, "a" * 99)), 1) == [(1, 1)]


def test_tokens_without_any_event_are_nowhere() -> None:
    assert told(tally(), 5) == []


@given(
    events=st.lists(st.tuples(st.integers(0, 5), st.text("ab", max_size=4)), min_size=1, max_size=30),
    tokens=st.integers(1, 100),
)
def test_there_are_as_many_as_told_in_order_and_from_the_first(events: list[tuple[int, str]], tokens: int) -> None:
    events = sorted(events)
    counted = told(tally(*((t, text) if text else t for t, text in events)), tokens)
    assert sum(n for _, n in counted) == tokens
    assert [t for t, _ in counted] == sorted(t for t, _ in counted)
    assert all(n > 0 for _, n in counted)
    if events[0][1]:
        assert counted[0][0] == events[0][0]


@given(
    parts=st.lists(
        st.tuples(st.sampled_from(["told", "held", "silent"]), st.integers(0, 1), st.text("ab", max_size=3))
    ),
    tokens=st.integers(1, 100),
)
def test_so_they_are_where_parts_of_an_event_count_no_token_of_their_own(
    parts: list[tuple[str, int, str]], tokens: int
) -> None:
    counted = Tally(keep_text=False)
    counted.add(0, "answer", "a")
    for t_ns, (how, own, text) in enumerate(parts):
        if how == "told":
            counted.add(t_ns, "thinking", text, own)
        elif how == "held":
            counted.add_held(t_ns, own)
        else:
            counted.add_silent(t_ns)
    assert sum(counted.counts(tokens)) == tokens


def test_text_is_kept_where_it_is_asked_for() -> None:
    assert [chunk.text for chunk in chunks(tally((1, "a"), (1, "b"), (2, "c"), keep_text=True), None)] == ["ab", "c"]
    assert [chunk.text for chunk in chunks(tally((1, "a")), None)] == [None]


def test_kinds_are_apart_even_in_one_packet() -> None:
    counted = Tally(keep_text=False)
    counted.add(1, "thinking", "hm")
    counted.add(1, "answer", "so")
    assert [(chunk.kind, chunk.n_tokens) for chunk in chunks(counted, None)] == [("thinking", 1), ("answer", 1)]
    counted.all_thinking()
    assert {chunk.kind for chunk in chunks(counted, None)} == {"thinking"}
