"""Text that is told token by token is what the tokenizer makes of all of them together."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from bench.native.server.detokenizer import Vocabulary

WORDS = [
    "the",
    "quick",
    "brown",
    "fox,",
    "jumps",
    "over",
    "12",
    "lazy",
    "dogs;",
    "naïve",
    "café",
    "—",
    "größer",
    "東京は夜",
    "🙂🙃",
    "привет",
    "مرحبا",
    "नमस्ते",
    "",
]
SPECIAL = AddedToken("<|end|>", special=True)


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    # Letters that stand for bytes, and letters that stand for none.
    tokenizer.add_tokens(["<think>", "◁think▷", "Ġé"])
    tokenizer.add_special_tokens([SPECIAL])
    return tokenizer


def byte_fallback() -> Tokenizer:
    """As Llama 2: words that begin with a mark for the space, and a token for each byte."""
    pieces = ["▁", "▁the", "▁fox", "he", "é", "a", "�", "<0xZZ>"]
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    tokenizer = Tokenizer(
        models.BPE({token: place for place, token in enumerate(tokens)}, [], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([SPECIAL])
    return tokenizer


def metaspace() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁", -1.0), ("▁the", -2.0), ("fox", -2.5), ("é", -3.0)], 0))
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([SPECIAL])
    return tokenizer


def word_piece() -> Tokenizer:
    words = ["[UNK]", "the", "fox", "##es", "##é", ".", ",", "do", "not", "'", "��"]
    tokenizer = Tokenizer(models.WordPiece({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([SPECIAL])
    return tokenizer


TOKENIZERS = [byte_level, byte_fallback, metaspace, word_piece]


def told(tokenizer: Tokenizer, token_ids: Sequence[int], *, skip_special: bool) -> list[str]:
    detokenizer = Vocabulary(tokenizer).detokenizer(skip_special=skip_special)
    return [*(detokenizer.add(token_id) for token_id in token_ids), detokenizer.flush()]


@pytest.mark.parametrize("make", TOKENIZERS)
@pytest.mark.parametrize("skip_special", [True, False])
def test_pieces_of_random_tokens_are_the_text_of_all(make: Callable[[], Tokenizer], skip_special: bool) -> None:
    tokenizer = make()
    draw = random.Random(5)
    # A few ids beyond the vocabulary too: models have more rows than their tokenizers have tokens.
    ids = range(tokenizer.get_vocab_size() + 3)
    for length in (*range(1, 40), 300):
        for _ in range(10):
            token_ids = draw.choices(ids, k=length)
            pieces = told(tokenizer, token_ids, skip_special=skip_special)
            assert "".join(pieces) == tokenizer.decode(token_ids, skip_special_tokens=skip_special), token_ids


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
def test_a_character_is_told_whole_with_its_last_byte(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    text = "a🙂é"
    letters = pre_tokenizers.ByteLevel.alphabet()
    if make is byte_level:
        by_byte = {Vocabulary(tokenizer).bytes_of(tokenizer.token_to_id(letter)): letter for letter in letters}
        names = [by_byte[bytes([byte])] for byte in text.encode()]
        expected = ["a", "", "", "", "🙂", "", "é", ""]
    else:
        names = ["a", *(f"<0x{byte:02X}>" for byte in "🙂".encode()), "é"]
        expected = ["a", "", "", "", "", "🙂é", ""]
    assert told(tokenizer, [tokenizer.token_to_id(name) for name in names], skip_special=True) == expected


def test_text_after_a_flush_goes_on_anew() -> None:
    tokenizer = byte_level()
    half, word = (
        next(token_id for token_id in range(400) if Vocabulary(tokenizer).bytes_of(token_id) == b"\xf0"),
        tokenizer.token_to_id("<think>"),
    )
    detokenizer = Vocabulary(tokenizer).detokenizer(skip_special=True)
    assert [detokenizer.add(half), detokenizer.flush(), detokenizer.add(word)] == ["", "�", "<think>"]


def test_tokens_that_say_the_replacement_character_are_kept_back_no_longer_than_some() -> None:
    tokenizer = byte_fallback()
    pieces = told(tokenizer, [tokenizer.token_to_id("�")] * 100, skip_special=True)
    assert "".join(pieces) == "�" * 100
    assert max(map(len, pieces)) <= 16


@pytest.mark.parametrize("make", TOKENIZERS)
def test_a_token_alone_reads_its_bytes(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    vocabulary = Vocabulary(tokenizer)
    assert vocabulary.bytes_of(tokenizer.token_to_id("<|end|>")) == b"<|end|>"
    assert vocabulary.bytes_of(10**6) == b""
    if make is byte_fallback:
        assert vocabulary.bytes_of(tokenizer.token_to_id("<0xE2>")) == b"\xe2"
