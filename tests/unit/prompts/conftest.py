"""Small tokenizers of every kind that models have, and folders that hold one with a chat template."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

SPECIAL = ["<s>", "<|user|>", "<|end|>", "<|assistant|>"]
TEMPLATES = {
    "marked": "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}<|assistant|>\n",
    "trimmed": "{{ bos_token }}{% for m in messages %}<|user|>{{ m.content | trim }}<|end|>{% endfor %}<|assistant|>",
    "plain": "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}",
}


def _corpus() -> list[str]:
    """Lines of a few hundred made-up words, the early ones far more often than the late ones."""
    draw = random.Random(5)
    words = ["".join(draw.choices("aeioulnrstkm", k=draw.randint(2, 7))) for _ in range(400)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    return [" ".join(draw.choices(words, weights, k=12)).capitalize() + "." for _ in range(1500)]


def _byte_level() -> Tokenizer:
    """As GPT-2's and its heirs, with a BOS that the tokenizer adds."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def _sentence_piece() -> Tokenizer:
    """As Llama 2's: no text is split before it is merged, and spaces are part of words."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    marked = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.pre_tokenizer = marked
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>", *SPECIAL], show_progress=False)
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def _unigram() -> Tokenizer:
    """As T5's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<unk>", *SPECIAL]
    trainer = trainers.UnigramTrainer(vocab_size=500, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(_corpus(), trainer)
    return tokenizer


def _word_piece() -> Tokenizer:
    """As BERT's, which reads no capitals and stands between two tokens of its own."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[UNK]", "[CLS]", "[SEP]", *SPECIAL]
    trainer = trainers.WordPieceTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(_corpus(), trainer)
    added = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=added)
    return tokenizer


def _characters() -> Tokenizer:
    """A token for every character."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,[]/\n"
    tokenizer = Tokenizer(models.WordLevel({letter: place for place, letter in enumerate(letters)}, unk_token="."))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def _words() -> Tokenizer:
    """Whole words between spaces, without a decoder."""
    tokenizer = Tokenizer(models.WordLevel({f"w{number}": number for number in range(2000)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": _byte_level,
    "sentence-piece": _sentence_piece,
    "unigram": _unigram,
    "word-piece": _word_piece,
    "characters": _characters,
    "words": _words,
}


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def tokenizers_made() -> dict[str, Tokenizer]:
    return {name: make() for name, make in KINDS.items()}


@pytest.fixture(scope="session")
def tokenizer(kind: str, tokenizers_made: dict[str, Tokenizer]) -> Tokenizer:
    return tokenizers_made[kind]


@pytest.fixture(scope="session")
def folder_of(
    tmp_path_factory: pytest.TempPathFactory, tokenizers_made: dict[str, Tokenizer]
) -> Callable[[str, str], Path]:
    """The folder of a tokenizer of one kind with one of the templates, or with the text of another."""
    made: dict[tuple[str, str], Path] = {}

    def make(kind: str, template: str) -> Path:
        if (kind, template) not in made:
            folder = made[kind, template] = tmp_path_factory.mktemp(kind)
            tokenizers_made[kind].save(str(folder / "tokenizer.json"))
            config = {"chat_template": TEMPLATES.get(template, template), "bos_token": "<s>"}
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return made[kind, template]

    return make
