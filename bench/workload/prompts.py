"""From segments to tokens: prompts of exact length that share exactly what the workload says they share."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bench.core.errors import InputError
from bench.core.records import Prompt, Segment, Turn
from bench.workload.framing import ChatFraming, load_framing
from bench.workload.shared_prefix import SharedPrefix

_TOKENIZER = "tokenizer.json"
_KEPT_TOKENS = 4_000_000
"""Segments kept for reuse, in tokens: 16 MB, some thirty sessions of 128k tokens."""


class PromptSynthesizer:
    """Draws each segment from the tokenizer's ordinary tokens, seeded by `salt` and the segment's key.

    Equal keys are equal tokens within one salt and unrelated under another, so a run with a salt of its own finds
    nothing of an earlier run in any cache. `framing` wraps each prompt, without changing its length, in the model's
    chat template; a prompt too short for that, or a model without one, stays as drawn. A folder without a tokenizer
    is drawn from by the size of its vocabulary, and cannot be framed. Raises InputError where a framed one has none, or
    where tokenizer, template or config cannot be read.
    """

    def __init__(self, model_folder: Path, salt: str, framing: bool) -> None:
        self._salt = salt
        self._framing: ChatFraming | None = None
        if framing or (model_folder / _TOKENIZER).exists():
            tokenizer = _load_tokenizer(model_folder)
            self._vocabulary = _ordinary_tokens(tokenizer)
            self._framing = load_framing(model_folder, tokenizer) if framing else None
        else:
            self._vocabulary = _every_id(model_folder / "config.json")
        self._segments: OrderedDict[Segment, NDArray[np.int32]] = OrderedDict()
        self._kept_tokens = 0
        self._sent = SharedPrefix(self._framing)

    @property
    def framed(self) -> bool:
        """Whether prompts that have room for it are wrapped in the chat template."""
        return self._framing is not None

    def realise(self, turn: Turn) -> Prompt:
        """The token ids of `turn`'s prompt, as many as its segments say."""
        ids: list[int] = np.concatenate([self._tokens(segment) for segment in turn.prompt]).tolist()
        if self._framing is not None and self._framing.fits(len(ids)):
            ids = self._framing.around(ids)
        return Prompt(tuple(ids))

    def shared_tokens(self, turn: Turn) -> int:
        """Leading prompt tokens that earlier calls already covered. Call it once a turn, in the order of sending."""
        return self._sent.add(turn)

    def _tokens(self, segment: Segment) -> NDArray[np.int32]:
        kept = self._segments.get(segment)
        if kept is not None:
            self._segments.move_to_end(segment)
            return kept
        seed = hashlib.sha256(f"{self._salt}\0{segment.key}".encode()).digest()
        drawn = np.random.default_rng(int.from_bytes(seed, "big")).choice(self._vocabulary, size=segment.tokens)
        self._segments[segment] = drawn
        self._kept_tokens += segment.tokens
        while self._kept_tokens > _KEPT_TOKENS and len(self._segments) > 1:
            _, dropped = self._segments.popitem(last=False)
            self._kept_tokens -= len(dropped)
        return drawn


def _load_tokenizer(folder: Path) -> Tokenizer:
    path = folder / _TOKENIZER
    if not path.is_file():
        raise InputError(f"no {_TOKENIZER}", where=folder, allowed="one, or a workload with length_mode: pinned")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # The library raises nothing narrower
        raise InputError(f"not a tokenizer: {error}", where=path, allowed="a Hugging Face tokenizer.json") from error


def _ordinary_tokens(tokenizer: Tokenizer) -> NDArray[np.int32]:
    added = tokenizer.get_added_tokens_decoder()
    return np.array(sorted(set(tokenizer.get_vocab(with_added_tokens=False).values()) - set(added)), dtype=np.int32)


def _every_id(config: Path) -> NDArray[np.int32]:
    """Every token of a model, special ones too: without a tokenizer nothing says which those are."""
    allowed = "a JSON object with a positive vocab_size"
    try:
        size = json.loads(config.read_text(encoding="utf-8"))["vocab_size"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"tells no size of a vocabulary: {error}", where=config, allowed=allowed) from None
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise InputError(f"vocab_size = {size!r}", where=config, allowed=allowed)
    return np.arange(size, dtype=np.int32)
