"""What prompts are drawn from, and that a draw only ever grows at its end."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from bench.workload.vocabulary import Vocabulary, words_of

VOCABULARY = Vocabulary(range(100, 1000))


@given(st.text(max_size=5), st.integers(0, 400), st.integers(0, 400))
def test_a_longer_draw_begins_with_the_shorter(seed: str, one: int, other: int) -> None:
    start, end = sorted((one, other))
    whole = VOCABULARY.ids(VOCABULARY.places(seed, 0, 500))
    assert VOCABULARY.ids(VOCABULARY.places(seed, start, end)) == whole[start:end]


def test_every_token_is_drawn_about_equally_often() -> None:
    drawn = VOCABULARY.ids(VOCABULARY.places("seed", 0, 900 * 400))
    counts = [drawn.count(id) for id in range(100, 1000, 90)]
    assert set(drawn) == set(range(100, 1000))
    assert all(300 < count < 500 for count in counts)


def test_words_are_their_tokens_in_any_order(kind: str, tokenizer: Tokenizer) -> None:
    words = words_of(tokenizer, Path(kind))
    special = set(tokenizer.get_added_tokens_decoder())
    assert len(words) >= 16
    for seed in range(20):
        places = words.places(str(seed), 0, 200)
        ids = words.ids(places)
        told = tokenizer.encode(words.text(places), add_special_tokens=False).ids
        assert told[-199:] == list(ids[1:])
        assert not special & set(ids)
