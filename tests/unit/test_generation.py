"""Which tokens are thinking."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.core.records import Sampling
from bench.native.generation import Generation, ThinkTags
from bench.native.messages import Submit

OPENING, CLOSING, LINE_BREAK, WORD = 3, 4, 10, 50


def kinds(prompt: list[int], said: list[int], tags: ThinkTags = ThinkTags(OPENING, CLOSING)) -> str:
    """One letter a token said: t for thinking, a for answer."""
    submit = Submit(0, array("i", prompt), len(said), False, thinking_tokens=0, sampling=Sampling())
    generation = Generation(submit, tags)
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


def test_tags_are_read_from_the_added_tokens(tmp_path: Path) -> None:
    assert ThinkTags.from_folder(tmp_path) == ThinkTags()
    added = [{"id": OPENING, "content": "<think>"}, {"id": CLOSING, "content": "</think>"}]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    assert ThinkTags.from_folder(tmp_path) == ThinkTags(OPENING, CLOSING)


@pytest.mark.parametrize("document", ['{"added_tokens": [{"id": 3}]}', '{"added_tokens": 3}', "[]", "{"])
def test_a_broken_tokenizer_is_told_with_its_path(tmp_path: Path, document: str) -> None:
    (tmp_path / "tokenizer.json").write_text(document)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        ThinkTags.from_folder(tmp_path)
