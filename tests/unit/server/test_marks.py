"""The server leaves out the marks that the engine tells thinking by, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
from api_asking import HARMONY, letters

from bench.core.thinking import HARMONY_END, TAGS
from bench.native.server.marks import MarkReader, Marks
from bench.native.thinking import ThinkTags, marks_in


@pytest.mark.parametrize("pairs", [[pair] for pair in TAGS] + [[TAGS[2], TAGS[1]], []], ids=str)
def test_tags_are_those_of_the_engine(pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    # One tag without its other is no pair.
    tokenizer = letters("<think>", *(tag for pair in pairs for tag in pair))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    engine = marks_in(tmp_path)
    assert isinstance(engine, ThinkTags)
    assert Marks.of(tokenizer).tags == {engine.opening, engine.closing} - {None}


def test_in_harmony_a_header_is_left_out_up_to_its_message() -> None:
    tokenizer = letters(*HARMONY, HARMONY_END)
    reader = MarkReader(Marks.of(tokenizer))
    text = "<|channel|>a<|message|>b<|end|><|start|>c<|channel|>d<|message|>e"
    said = [
        token_id for token_id in tokenizer.encode(text, add_special_tokens=False).ids if not reader.is_mark(token_id)
    ]
    assert tokenizer.decode(said) == "be"


def test_a_tokenizer_with_some_of_harmonys_marks_has_none() -> None:
    assert Marks.of(letters(*HARMONY)) == Marks()
