"""Texts are counted as the model in a folder counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.core.tokenizer import load_tokenizer, token_counter

TINY = Path(__file__).resolve().parents[2] / "configs" / "models" / "tiny"


def test_a_model_counts_its_tokens_without_special_ones() -> None:
    count = token_counter(TINY)
    assert count is not None
    text = "What was asked, and what was answered."
    assert count(text) == len(load_tokenizer(TINY).encode(text, add_special_tokens=False).ids) > 0
    assert count("") == 0


def test_a_folder_without_a_tokenizer_counts_nothing(tmp_path: Path) -> None:
    assert token_counter(tmp_path) is None
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": 5}')
    count = token_counter(tmp_path)
    assert count is not None
    with pytest.raises(InputError, match=r"tokenizer\.json: not a tokenizer"):
        count("words")
