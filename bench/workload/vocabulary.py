"""The tokens that prompts are drawn from."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bench.core.errors import InputError

_MOST_WORDS = 4096
"""Words looked at of each class: those that come first, which are the common ones, and plenty to tell prompts apart."""
_FEWEST_WORDS = 16
_ROUNDS = 12
_CLASSES = (re.compile("[Ġ▁][A-Za-z]{2,}"), re.compile("[A-Za-z]{2,}"), re.compile("[A-Za-z0-9]+"), re.compile(r"\S+"))
"""Tokens by how likely they keep to themselves: whole words with the space before them, and whatever else there is."""


class Vocabulary:
    """N tokens, and, where prompts are also sent as text, how each reads after any other of them."""

    def __init__(self, ids: Sequence[int], texts: Sequence[str] | None = None) -> None:
        # As objects, so that a prompt in memory costs a reference for each token and not a number.
        self._ids = np.array(ids, dtype=object)
        self._texts = None if texts is None else np.array(texts, dtype=object)
        self._lengths = {} if texts is None else dict(zip(ids, map(len, texts), strict=True))

    def __len__(self) -> int:
        return len(self._ids)

    def places(self, seed: str, start: int, end: int) -> NDArray[np.uint32]:
        """Tokens `start` to `end` of the endless draw of `seed`, by their places in the vocabulary."""
        stream = hashlib.shake_128(seed.encode()).digest(4 * end)
        return np.frombuffer(stream, "<u4", end - start, offset=4 * start) % np.uint32(len(self._ids))

    def ids(self, places: NDArray[np.uint32]) -> tuple[int, ...]:
        return tuple(self._ids[places].tolist())

    def text(self, places: NDArray[np.uint32]) -> str:
        return "" if self._texts is None else "".join(self._texts[places].tolist())

    def word(self, place: int) -> tuple[int, str]:
        """A token and how it reads."""
        return self._ids[place], "" if self._texts is None else self._texts[place]

    def letters(self, id: int) -> int:
        """How many letters a token of a text is."""
        return self._lengths[id]


def ordinary_tokens(tokenizer: Tokenizer) -> Vocabulary:
    """Every token that is not an added one."""
    added = tokenizer.get_added_tokens_decoder()
    return Vocabulary(sorted(set(tokenizer.get_vocab(with_added_tokens=False).values()) - set(added)))


def every_id(config: Path) -> Vocabulary:
    """Every token of a model, special ones too: without a tokenizer nothing says which those are."""
    allowed = "a JSON object with a positive vocab_size"
    try:
        size = json.loads(config.read_text(encoding="utf-8"))["vocab_size"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"tells no size of a vocabulary: {error}", where=config, allowed=allowed) from None
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise InputError(f"vocab_size = {size!r}", where=config, allowed=allowed)
    return Vocabulary(range(size))


def words_of(tokenizer: Tokenizer, where: Path) -> Vocabulary:
    """Tokens whose texts, one after another in any order, are tokenized to just these tokens.

    Raises InputError, naming `where`, for a tokenizer that has too few of them.
    """
    added = tokenizer.get_added_tokens_decoder()
    ordinary = [(id, token) for token, id in tokenizer.get_vocab(with_added_tokens=False).items() if id not in added]
    for wanted in _CLASSES:
        tokens = sorted(one for one in ordinary if wanted.fullmatch(one[1]))[:_MOST_WORDS]
        if len(tokens) < _FEWEST_WORDS:
            continue
        decoded = _read_after(tokenizer, [id for id, _ in tokens])
        # A tokenizer without a decoder reads its tokens with spaces between them, that may not have been there.
        for texts in (decoded, [token for _, token in tokens]):
            words = _that_survive(tokenizer, list(zip((id for id, _ in tokens), texts, strict=True)))
            if len(words) >= _FEWEST_WORDS:
                return Vocabulary([id for id, _ in words], [text for _, text in words])
    raise InputError(
        "a tokenizer with no words that keep to themselves, so that no text has a known number of tokens",
        where=where,
        allowed="an engine that is asked in token ids",
    )


def _read_after(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """How each of `ids` reads after another."""
    before = tokenizer.decode([ids[0]])
    return [text.removeprefix(before) for text in tokenizer.decode_batch([[ids[0], id] for id in ids])]


def _that_survive(tokenizer: Tokenizer, words: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Those of `words` that are tokenized to themselves: alone, and then among others, until none of a round fails."""
    words = [word for word in words if word[1]]
    words = _kept(tokenizer, words, [[word] * 4 for word in words])
    order = random.Random(0)
    for _ in range(_ROUNDS):
        if len(words) < _FEWEST_WORDS:
            return []
        others = [order.sample(words, 3) for _ in words]
        kept = _kept(tokenizer, words, [[a, word, b, c] for word, (a, b, c) in zip(words, others, strict=True)])
        if len(kept) == len(words):
            return words
        words = kept
    return []


def _kept(
    tokenizer: Tokenizer, words: list[tuple[int, str]], rows: list[list[tuple[int, str]]]
) -> list[tuple[int, str]]:
    """The words whose row is tokenized to itself, but for what stands first: that may need another spelling there."""
    encoded = tokenizer.encode_batch_fast(["".join(text for _, text in row) for row in rows], add_special_tokens=False)
    return [
        word for word, row, told in zip(words, rows, encoded, strict=True) if told.ids[-3:] == [id for id, _ in row[1:]]
    ]
