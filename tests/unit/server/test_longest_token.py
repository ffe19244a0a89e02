"""A text that is certainly too long is refused before it is tokenized, and no other is."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from api_asking import ToldEngine, letters, refused, service_of
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from bench.core.chat_template import ChatTemplate
from bench.native.server import chat, completions
from bench.native.server.longest_token import longest_token

TEMPLATE = ChatTemplate(Path(), "{{ messages[0].content }}", {})
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def by_bytes(**parts: Any) -> Tokenizer:
    """Every byte, and `aaaa` as one token."""
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "aa", "aaaa"]
    tokenizer = Tokenizer(models.BPE({token: place for place, token in enumerate(tokens)}, [("a", "a"), ("aa", "aa")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return with_parts(tokenizer, **parts)


def by_characters(**parts: Any) -> Tokenizer:
    """`a`, the blank's letter and every byte as a fallback, as converted from SentencePiece."""
    tokens = [*BYTES, "a", "▁", "<unk>"]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return with_parts(tokenizer, **parts)


def with_parts(tokenizer: Tokenizer, **parts: Any) -> Tokenizer:
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


def with_added(token: AddedToken) -> Tokenizer:
    tokenizer = by_bytes()
    tokenizer.add_tokens([token])
    return tokenizer


def truncated() -> Tokenizer:
    tokenizer = by_bytes()
    tokenizer.enable_truncation(10)
    return tokenizer


def unknown_as_one() -> Tokenizer:
    return Tokenizer(models.BPE({"a": 0, "<unk>": 1}, [], unk_token="<unk>", fuse_unk=True))


BOUNDED = {
    "bytes": (by_bytes(), 4),
    "composed": (by_bytes(normalizer=normalizers.NFC()), 16),
    "added": (with_added(AddedToken("<|long|>")), 8),
    "characters": (by_characters(), len("<0x00>")),
}
UNBOUNDED = {
    "unknown": unknown_as_one(),
    "words": Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>")),
    "left out": by_bytes(pre_tokenizer=pre_tokenizers.Whitespace()),
    "removed": by_bytes(
        pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(" "), "removed"), pre_tokenizers.ByteLevel()])
    ),
    "stripped": by_bytes(normalizer=normalizers.Strip()),
    "shrunk": by_bytes(normalizer=normalizers.Replace(Regex(" +"), " ")),
    "swallowed": with_added(AddedToken("<|end|>", rstrip=True)),
    "truncated": truncated(),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_the_longest_entry_is_the_bound(name: str) -> None:
    tokenizer, longest = BOUNDED[name]
    assert longest_token(tokenizer) == longest


@given(st.text("a é́\u0323<|long>漢😀", max_size=60))
def test_no_text_has_fewer_tokens(text: str) -> None:
    for tokenizer, longest in BOUNDED.values():
        assert len(tokenizer.encode(text, add_special_tokens=False).ids) * longest >= len(text)


def test_no_character_is_composed_of_more() -> None:
    decomposed = max(len(unicodedata.normalize("NFD", chr(code))) for code in range(sys.maxunicode + 1))
    assert longest_token(by_bytes(normalizer=normalizers.NFC())) == 4 * decomposed


@pytest.mark.parametrize("name", UNBOUNDED)
def test_where_characters_may_vanish_nothing_is_certain(name: str) -> None:
    assert longest_token(UNBOUNDED[name]) is None


@pytest.mark.parametrize(
    ("handler", "field", "prompt"),
    [
        (completions.completions, "prompt", ["a", "a" * 8001]),
        (chat.chat_completions, "messages", [{"role": "user", "content": "a" * 8001}]),
    ],
)
def test_what_is_certainly_too_long_is_not_tokenized(
    handler: Any, field: str, prompt: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tokenized(*_: object, **__: object) -> None:
        raise AssertionError

    for module in (chat, completions):
        monkeypatch.setattr(module, "encode", tokenized)
    engine = ToldEngine()
    told = {"model": "small", field: prompt, "max_tokens": 7}
    error = refused(handler, service_of(engine, with_added(AddedToken("<|long|>")), TEMPLATE), told)
    assert (error.status, error.param, error.code) == (400, field, "context_length_exceeded")
    assert error.message == "at least 1001 prompt and 7 output tokens in a context of 1000"
    assert engine.turns == []


def test_what_may_fit_is_tokenized_to_say_so() -> None:
    service = service_of(ToldEngine(), letters())
    error = refused(completions.completions, service, {"model": "small", "prompt": "a" * 1000})
    assert error.message == "1000 prompt and 16 output tokens in a context of 1000"
