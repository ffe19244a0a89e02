"""Which tokens are thinking."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.core.sessions import Sampling
from bench.native.generation import Generation
from bench.native.messages import Submit
from bench.native.thinking import Harmony, ThinkTags, marks_in

OPENING, CLOSING, LINE_BREAK, WORD = 3, 4, 10, 50


def kinds(prompt: list[int], said: list[int], marks: ThinkTags | Harmony = ThinkTags(OPENING, CLOSING)) -> str:
    """One letter a token said: t for thinking, a for answer."""
    submit = Submit(0, array("i", prompt), len(said), False, thinking_tokens=0, sampling=Sampling())
    generation = Generation(submit, marks)
    return "".join(generation.append(token)[0] for token in said)


def test_thinking_is_from_the_opening_tag_to_the_closing_one_both_included() -> None:
    assert kinds([WORD], [OPENING, WORD, WORD, CLOSING, WORD, WORD]) == "ttttaa"
    assert kinds([WORD], [WORD, OPENING, WORD]) == "att"
    assert kinds([WORD], [WORD, CLOSING, WORD]) == "aaa"
    assert kinds([WORD], [OPENING, CLOSING, WORD, OPENING, CLOSING, WORD]) == "ttatta"


@pytest.mark.parametrize("prompt", [[WORD, OPENING], [WORD, OPENING, LINE_BREAK]])
def test_a_prompt_may_leave_the_tag_open(prompt: list[int]) -> None:
    assert kinds(prompt, [WORD, CLOSING, WORD]) == "tta"


@pytest.mark.parametrize("prompt", [[OPENING, WORD, WORD], [OPENING, CLOSING], []])
def test_a_tag_deeper_in_the_prompt_or_closed_there_is_history(prompt: list[int]) -> None:
    assert kinds(prompt, [WORD]) == "a"


def test_without_tags_everything_is_answer() -> None:
    assert kinds([WORD], [OPENING, WORD, CLOSING], ThinkTags()) == "aaa"


NAMES = Harmony(end=1, start=2, assistant=30, channel=5, final=31, message=6, analysis=32)
THOUGHT = [5, 32, 6]
SWITCH = [1, 2, 30, 5, 31, 6]


def said_under(budget: int, prompt: list[int], wanted: list[int], marks: ThinkTags | Harmony) -> tuple[list[int], str]:
    """What is said, and its kinds, when the model wants to say `wanted`, three tokens a step."""
    submit = Submit(0, array("i", prompt), 99, False, 0, Sampling(), budget)
    generation, said, kinds = Generation(submit, marks), [], ""
    while wanted:
        step, wanted = wanted[:3], wanted[3:]
        expected = generation.imposed()
        kept = generation.kept(step)
        assert expected in (None, kept[0])
        said += kept
        kinds += "".join(generation.append(token)[0] for token in kept)
    return said, kinds


def test_harmony_thinks_on_the_channel_of_analysis() -> None:
    thought = [*THOUGHT, WORD, WORD]
    assert kinds([2, 30], [*thought, *SWITCH, WORD], NAMES) == "t" * 11 + "a"
    assert kinds([WORD], [*thought, *SWITCH, WORD], NAMES) == "t" * 11 + "a"
    assert kinds([2, 30], [5, 31, 6, WORD], NAMES) == "ttta"
    assert kinds([2, 30, 5, 32, 6], [WORD, *SWITCH, WORD], NAMES) == "t" * 7 + "a"
    assert kinds([2, 40, 6, WORD, 1], [WORD, WORD], NAMES) == "aa"


def test_calls_of_tools_are_answers_and_thinking_may_follow() -> None:
    call, again = [5, 40, 41, 6, WORD], [1, 2, 30, *THOUGHT, WORD]
    assert kinds([2, 30], [*call, *again], NAMES) == "tttta" + "a" * 6 + "t"


def test_a_budget_ends_thinking_with_its_last_token() -> None:
    tags = ThinkTags(OPENING, CLOSING)
    said, kinds_ = said_under(4, [WORD], [OPENING, *[WORD] * 20], tags)
    assert said[:4] == [OPENING, WORD, WORD, CLOSING]
    assert kinds_.startswith("tttta")
    assert "t" not in kinds_[4:]
    assert said_under(4, [WORD, OPENING], [WORD] * 12, tags)[0][:4] == [WORD, WORD, WORD, CLOSING]


def test_a_budget_that_is_not_used_up_changes_nothing() -> None:
    wanted = [OPENING, WORD, CLOSING, WORD, WORD, WORD]
    assert said_under(3, [WORD], wanted, ThinkTags(OPENING, CLOSING))[0] == wanted
    assert said_under(99, [WORD], wanted, ThinkTags(OPENING, CLOSING))[0] == wanted
    assert said_under(1, [WORD], [WORD] * 6, ThinkTags(OPENING, CLOSING))[0] == [WORD] * 6
    assert said_under(1, [WORD], [OPENING] * 6, ThinkTags())[0] == [OPENING] * 6


def test_thinking_that_is_opened_again_ends_at_once() -> None:
    wanted = [OPENING, WORD, CLOSING, OPENING, WORD, WORD, OPENING, WORD, WORD]
    said, _ = said_under(3, [WORD], wanted, ThinkTags(OPENING, CLOSING))
    assert said == [OPENING, WORD, CLOSING, OPENING, CLOSING, OPENING, CLOSING]


@pytest.mark.parametrize("thought_tokens", [0, 1, 4, 5, 7])
def test_a_budget_leads_harmony_to_its_answer(thought_tokens: int) -> None:
    again = [1, 2, 30, *THOUGHT]
    for budget in range(12, 30):
        wanted = [*THOUGHT, *[WORD] * thought_tokens, *again, *[WORD] * 5, *again, *[WORD] * 90]
        said, kinds_ = said_under(budget, [2, 30], wanted, NAMES)
        thought = kinds_.index("a")
        assert 6 < thought <= budget
        assert said[:thought][-6:] == SWITCH


def test_tags_are_read_from_the_added_tokens(tmp_path: Path) -> None:
    assert marks_in(tmp_path) == ThinkTags()
    added = [{"id": OPENING, "content": "<think>"}, {"id": CLOSING, "content": "</think>"}]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    assert marks_in(tmp_path) == ThinkTags(OPENING, CLOSING)


def test_harmony_is_read_from_added_tokens_and_the_names_of_its_channels(tmp_path: Path) -> None:
    marks = {"<|end|>": 1, "<|start|>": 2, "<|channel|>": 5, "<|message|>": 6}
    words = {"assistant": 30, "final": 31, "analysis": 32}
    document = {
        "added_tokens": [{"id": id, "content": mark} for mark, id in marks.items()],
        "model": {"vocab": words},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    assert marks_in(tmp_path) == NAMES
    del words["final"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    assert marks_in(tmp_path) == ThinkTags()


@pytest.mark.parametrize("document", ['{"added_tokens": [{"id": 3}]}', '{"added_tokens": 3}', "[]", "{"])
def test_a_broken_tokenizer_is_told_with_its_path(tmp_path: Path, document: str) -> None:
    (tmp_path / "tokenizer.json").write_text(document)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        marks_in(tmp_path)
