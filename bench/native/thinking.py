"""Which tokens of an output are thinking, told by the ids of the model's marks, and what would end the thinking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.core.errors import InputError
from bench.core.records import TokenKind
from bench.core.thinking import (
    ANSWER_CHANNEL,
    HARMONY_CHANNEL,
    HARMONY_END,
    HARMONY_MESSAGE,
    HARMONY_START,
    TAGS,
    THINKING_CHANNEL,
)
from bench.native.json_file import read_json_object

_LONGEST_HEADER = 8
"""How far before its end a prompt may have begun the header of a message, in tokens."""


class Thinking(Protocol):
    """How far one output has come."""

    def read(self, token_id: int) -> TokenKind:
        """Take the next token and say what it is. Marks of thinking are thinking."""

    def way_out(self) -> tuple[int, int] | None:
        """The next token on the shortest way to an answer, and the most thinking tokens that way may yet take, it
        included; None while the output is answering."""

    def copy(self) -> Thinking: ...


@dataclass(frozen=True, slots=True)
class ThinkTags:
    """Token ids of a pair of tags; None where the tokenizer has no such token."""

    opening: int | None = None
    closing: int | None = None

    @property
    def imposable(self) -> tuple[int, ...]:
        """Every token that a way out may lead over."""
        return () if self.closing is None else (self.closing,)

    def begin(self, prompt_ids: Sequence[int]) -> Thinking:
        """An output may begin inside the tags: behind a prompt that ends in the opening one, alone or with the line
        break that chat templates put after it."""
        tags = [token_id for token_id in prompt_ids[-2:] if token_id in (self.opening, self.closing)]
        return _BetweenTags(self, inside=tags[-1:] == [self.opening])


@dataclass(slots=True)
class _BetweenTags:
    tags: ThinkTags
    inside: bool

    def read(self, token_id: int) -> TokenKind:
        self.inside = self.inside or token_id == self.tags.opening
        kind: TokenKind = "thinking" if self.inside else "answer"
        if token_id == self.tags.closing:
            self.inside = False
        return kind

    def way_out(self) -> tuple[int, int] | None:
        return (self.tags.closing, 1) if self.inside and self.tags.closing is not None else None

    def copy(self) -> Thinking:
        return copy(self)


@dataclass(frozen=True, slots=True)
class Harmony:
    """Token ids of what ends a message and begins the answer, in this order, and of the channel that thinks."""

    end: int
    start: int
    assistant: int
    channel: int
    final: int
    message: int
    analysis: int

    @property
    def imposable(self) -> tuple[int, ...]:
        """Every token that a way out may lead over."""
        return (self.end, self.start, self.assistant, self.channel, self.final, self.message)

    def begin(self, prompt_ids: Sequence[int]) -> Thinking:
        """A prompt for an answer ends in the beginning of its header."""
        header = _Channels(self)
        tail = prompt_ids[-_LONGEST_HEADER:]
        starts = [place for place, token_id in enumerate(tail) if token_id == self.start]
        for token_id in tail[starts[-1] :] if starts else ():
            header.read(token_id)
        return header


@dataclass(slots=True)
class _Channels:
    """The header of a message is what came before it, and at the start thinking."""

    harmony: Harmony
    inside: bool = True
    place: int = 0
    """How far the way to the answer has been gone: of end, start, assistant, channel, final and message, how many."""
    channel: int | None = None
    begun: bool = False

    def read(self, token_id: int) -> TokenKind:
        names = self.harmony
        if not self.begun:
            self.begun = True
            self.inside = token_id in (names.start, names.channel)
        kind: TokenKind = "thinking" if self.inside else "answer"
        if token_id == names.end:
            self.place = 1
        elif token_id == names.start:
            self.place, self.channel = 2, None
        elif token_id == names.channel:
            self.place = 4
        elif token_id == names.message:
            self.place, self.inside = 0, self.channel == names.analysis
        elif self.place == 2:
            self.place = 3
        elif self.place == 4:
            self.place, self.channel = 5, token_id
        return kind

    def way_out(self) -> tuple[int, int] | None:
        names = self.harmony
        answers = self.place == 5 and self.channel not in (names.analysis, names.final)
        if not self.inside or not self.begun or answers:
            return None
        way = (names.end, names.start, names.assistant, names.channel, names.final, names.message)
        # A header may yet turn out to be another one of analysis: that is gone through, and then out of.
        return way[self.place], len(way) + 2 * (self.place > 0)

    def copy(self) -> Thinking:
        return copy(self)


def marks_in(folder: Path) -> ThinkTags | Harmony:
    """The marks of the model in `folder`, as its `tokenizer.json` has them: tags that match nothing where it has none.

    Raises InputError for a file that is not a tokenizer.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        return ThinkTags()
    document = read_json_object(path)
    try:
        added = {str(token["content"]): int(token["id"]) for token in document.get("added_tokens", [])}
    except (KeyError, TypeError, ValueError):
        raise InputError(
            "'added_tokens' is malformed", where=path, allowed="a list of objects with `id` and `content`"
        ) from None
    for opening, closing in TAGS:
        if opening in added and closing in added:
            return ThinkTags(added[opening], added[closing])
    return _harmony(added, document) or ThinkTags()


def _harmony(added: Mapping[str, int], document: Mapping[str, Any]) -> Harmony | None:
    """None where a mark is missing, or a name is not one token."""
    model = document.get("model")
    words = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(words, dict):
        return None
    ids = (
        *(added.get(mark) for mark in (HARMONY_END, HARMONY_START)),
        words.get("assistant"),
        added.get(HARMONY_CHANNEL),
        words.get(ANSWER_CHANNEL),
        added.get(HARMONY_MESSAGE),
        words.get(THINKING_CHANNEL),
    )
    known = [token_id for token_id in ids if isinstance(token_id, int)]
    return Harmony(*known) if len(known) == len(ids) else None
