"""How much of a text one token can stand for: what tells that a text is too long before it is tokenized."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

_MOST_COMPOSED = 4
"""Characters that NFC and NFKC make one of, at most: no character decomposes into more (Unicode, UAX #15)."""
_COMPOSING = frozenset({"NFC", "NFKC"})
_KEEPING = frozenset({"ByteLevel", "Digits", "Metaspace", "NFD", "NFKD", "Prepend", *_COMPOSING})
"""Steps before the model that leave no character out."""
_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))


def longest_token(tokenizer: Tokenizer) -> int | None:
    """Most characters of a text that a token can stand for; None where nothing bounds them.

    Nothing does where a text may lose characters on its way, or a single token stand for all that are not known.
    """
    if tokenizer.truncation is not None:
        return None
    if any(token.lstrip or token.rstrip for token in tokenizer.get_added_tokens_decoder().values()):
        return None  # it takes all the blanks beside it
    steps = [*_steps(tokenizer.normalizer), *_steps(tokenizer.pre_tokenizer)]
    if not all(_keeps(step) for step in steps):
        return None
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    kinds = {step["type"] for step in steps}
    if not _knows_all(tokenizer.model, vocabulary, by_bytes="ByteLevel" in kinds):
        return None
    return max(map(len, vocabulary)) * (_MOST_COMPOSED if kinds & _COMPOSING else 1)


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """The steps of a normalizer or a pre-tokenizer, which the library tells only as it pickles them."""
    yield from () if part is None else _flat(json.loads(part.__getstate__()))


def _flat(step: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if step["type"] != "Sequence":
        yield step
    for inner in (*step.get("normalizers", ()), *step.get("pretokenizers", ())):
        yield from _flat(inner)


def _keeps(step: dict[str, Any]) -> bool:
    if step["type"] in ("Split", "Punctuation"):
        return bool(step["behavior"] != "Removed")
    if step["type"] == "Replace":
        replaced = step["pattern"].get("String")
        return replaced is not None and len(step["content"]) >= len(replaced)
    return step["type"] in _KEEPING


def _knows_all(model: Any, vocabulary: dict[str, int], *, by_bytes: bool) -> bool:
    """Whether every character has tokens of its own."""
    if not isinstance(model, BPE) or model.continuing_subword_prefix or model.end_of_word_suffix:
        return False
    if by_bytes:
        return vocabulary.keys() >= set(ByteLevel.alphabet())
    return model.byte_fallback and vocabulary.keys() >= _BYTES
