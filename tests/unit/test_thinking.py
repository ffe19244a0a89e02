"""Which text of a stream is thinking, however the stream is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.thinking import TAGS
from bench.engine.thinking import Run, ThinkingReader, is_open

HARMONY = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes."
TOOL_CALL = '<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
MARKS = [mark for pair in TAGS for mark in pair] + ["<|start|>", "<|channel|>", "<|message|>", "<|end|>"]


def read(*pieces: str, opened: bool = False) -> list[Run]:
    """All runs of a stream, neighbours of one kind joined."""
    reader = ThinkingReader(opened=opened)
    runs = [run for piece in pieces for run in reader.read(piece)] + reader.flush()
    joined: list[Run] = []
    for kind, text in runs:
        assert text
        if joined and joined[-1][0] == kind:
            text = joined.pop()[1] + text
        joined.append((kind, text))
    return joined


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_thinking_is_from_tag_to_tag_both_included(opening: str, closing: str) -> None:
    thought = f"{opening}2 < 3{closing}"
    assert read(f"{thought} So it is.") == [("thinking", thought), ("answer", " So it is.")]
    assert read(f"Well. {thought}") == [("answer", "Well. "), ("thinking", thought)]
    assert read(f"{thought}a{thought}b") == [
        ("thinking", thought),
        ("answer", "a"),
        ("thinking", thought),
        ("answer", "b"),
    ]
    assert read(f"{opening}never ends") == [("thinking", f"{opening}never ends")]


def test_a_stream_keeps_to_the_tags_it_began_with() -> None:
    assert read("<think>a</think>say <reasoning>b</reasoning>") == [
        ("thinking", "<think>a</think>"),
        ("answer", "say <reasoning>b</reasoning>"),
    ]
    assert read("<think>a</thinking></think>b") == [("thinking", "<think>a</thinking></think>"), ("answer", "b")]


def test_a_prompt_may_have_opened_the_thinking() -> None:
    assert read("hm</think>yes", opened=True) == [("thinking", "hm</think>"), ("answer", "yes")]
    assert is_open("user: why?\n<think>\n")
    assert not is_open("user: why?\n<think>\n\n</think>\n")
    assert not is_open("")


def test_a_tag_that_closes_what_nothing_opened_is_noticed() -> None:
    reader = ThinkingReader()
    assert reader.read("hm</think>yes") == [("answer", "hm"), ("thinking", "</think>"), ("answer", "yes")]
    assert reader.unopened
    reader.read("<think>more</think>")
    assert reader.unopened
    known = ThinkingReader(opened=True)
    known.read("hm</think>yes</think>")
    assert not known.unopened


def test_harmony_thinks_on_the_channel_of_analysis_alone() -> None:
    head, answer = HARMONY[: -len("Yes.")], "Yes."
    assert read(HARMONY) == [("thinking", head), ("answer", answer)]
    assert read(f"<|start|>assistant{HARMONY}") == [("thinking", f"<|start|>assistant{head}"), ("answer", answer)]
    assert read("<|channel|>final<|message|>Yes.") == [("thinking", "<|channel|>final<|message|>"), ("answer", "Yes.")]


def test_a_tool_call_of_harmony_is_answer_and_thinking_may_follow() -> None:
    runs = read(HARMONY.replace("Yes.", "") + TOOL_CALL + HARMONY)
    assert [kind for kind, _ in runs] == ["thinking", "answer", "thinking", "answer"]
    assert runs[1][1].startswith("<|start|>")
    assert '{"a": 1}<|call|>' in runs[1][1]


def test_nothing_is_held_back_but_what_may_begin_a_mark() -> None:
    reader = ThinkingReader()
    assert reader.read("a <thi") == [("answer", "a ")]
    assert reader.read("rd place") == [("answer", "<third place")]
    assert reader.read("1 <") == [("answer", "1 ")]
    assert reader.flush() == [("answer", "<")]
    assert reader.flush() == []
    assert reader.read("") == []


@st.composite
def pieces(draw: st.DrawFn) -> list[str]:
    """A text full of marks, whole and broken, cut anywhere."""
    words = st.sampled_from([*MARKS, "analysis", "final", " ", "<", "<|", "</", "[", "so it is", "</thin"])
    text = "".join(draw(st.lists(words, max_size=12)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=20)))
    return [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]


@given(pieces(), st.booleans())
def test_any_cut_of_a_text_tells_the_same_kinds(cut: list[str], opened: bool) -> None:
    whole = "".join(cut)
    assert read(*cut, opened=opened) == read(whole, opened=opened) == read(*whole, opened=opened)
    assert "".join(text for _, text in read(*cut, opened=opened)) == whole
