"""Scaling and capping a workload keeps its shape."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.core.sessions import Segment, Session, Turn
from bench.workload.scaling import cap_delays, scale_session, scaled_count

SCALES = st.floats(0.001, 3)
LAYERS = st.lists(st.integers(1, 5000), min_size=1, max_size=12)


def growing_session(layers: list[int], output: int = 100, thinking: int = 40) -> Session:
    """A session in which each turn's prompt is the one before it and one layer more."""
    segments = tuple(Segment(f"layer-{index}", tokens) for index, tokens in enumerate(layers))
    turns = (Turn(index, segments[: index + 1], output, thinking) for index in range(len(segments)))
    return Session("growing", tuple(turns))


@given(LAYERS, SCALES)
def test_a_prompt_has_exactly_the_scaled_total(layers: list[int], scale: float) -> None:
    session = growing_session(layers)
    scaled = scale_session(session, scale)
    for turn, original in zip(scaled.turns, session.turns, strict=True):
        assert turn.prompt_tokens == scaled_count(original.prompt_tokens, scale)
        assert all(segment.tokens > 0 for segment in turn.prompt)


@given(LAYERS, SCALES)
def test_equal_keys_keep_equal_lengths_and_a_shared_prefix_stays_one(layers: list[int], scale: float) -> None:
    turns = scale_session(growing_session(layers), scale).turns
    lengths = {(segment.key, segment.tokens) for turn in turns for segment in turn.prompt}
    assert len(lengths) == len({key for key, _ in lengths})
    for before, turn in pairwise(turns):
        assert turn.prompt[: len(before.prompt)] == before.prompt


@given(st.integers(0, 100_000), st.integers(0, 100_000), SCALES)
def test_thinking_and_answer_add_up_and_neither_vanishes(thinking: int, answer: int, scale: float) -> None:
    session = growing_session([1], output=thinking + answer, thinking=thinking)
    (turn,) = scale_session(session, scale).turns
    assert turn.thinking_tokens == scaled_count(thinking, scale)
    assert turn.output_tokens - turn.thinking_tokens == scaled_count(answer, scale)
    assert (turn.thinking_tokens > 0) == (thinking > 0)


def test_counts_round_half_up_and_never_to_nothing() -> None:
    assert [scaled_count(count, 0.1) for count in (0, 1, 4, 14, 15, 25, 100)] == [0, 1, 1, 1, 2, 3, 10]


def test_scale_one_changes_nothing() -> None:
    session = growing_session([3, 5])
    assert scale_session(session, 1.0) is session


def test_delays_are_capped_and_counted() -> None:
    turns = tuple(
        Turn(i, (Segment("s", 1),), 1, delay_s=delay) for i, delay in enumerate((0.0, 9.9, 10.0, 74.0, 924.0))
    )
    capped, longer = cap_delays(Session("s", turns), 10.0)
    assert [turn.delay_s for turn in capped.turns] == [0.0, 9.9, 10.0, 10.0, 10.0]
    assert longer == 2
    assert cap_delays(Session("s", turns), None) == (Session("s", turns), 0)
