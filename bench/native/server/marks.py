"""The marks around thinking in a chat's answer: the engine tells what they enclose, and they are no part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from bench.core.thinking import HARMONY_CHANNEL, HARMONY_END, HARMONY_MESSAGE, HARMONY_START, TAGS


@dataclass(frozen=True, slots=True)
class Marks:
    """Token ids of a model's marks; empty where it has none."""

    tags: frozenset[int] = frozenset()
    openings: frozenset[int] = frozenset()
    """What begins the header of a message in harmony."""
    message: int | None = None
    """What ends it."""
    end: int | None = None
    """What ends a message."""

    @property
    def all(self) -> frozenset[int]:
        return self.tags | self.openings | {one for one in (self.message, self.end) if one is not None}

    @staticmethod
    def of(tokenizer: Tokenizer) -> Marks:
        """The same that the engine goes by: the first pair of tags that the tokenizer has whole, else harmony's."""
        for pair in TAGS:
            if len(tags := _known(tokenizer, pair)) == len(pair):
                return Marks(tags=frozenset(tags))
        names = (HARMONY_START, HARMONY_CHANNEL, HARMONY_MESSAGE, HARMONY_END)
        if len(ids := _known(tokenizer, names)) < len(names):
            return Marks()
        start, channel, message, end = ids
        return Marks(openings=frozenset((start, channel)), message=message, end=end)


class MarkReader:
    """Goes through one answer."""

    __slots__ = ("_in_header", "_marks")

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._in_header = False

    def is_mark(self, token_id: int) -> bool:
        """Whether the next token is a mark, or stands in the header of a message."""
        marks = self._marks
        if token_id in marks.tags:
            return True
        if token_id in marks.openings:
            self._in_header = True
            return True
        in_header = self._in_header
        if token_id == marks.message:
            self._in_header = False
            return True
        return in_header or token_id == marks.end


def _known(tokenizer: Tokenizer, names: Sequence[str]) -> list[int]:
    """Ids of the names that are tokens."""
    ids = (tokenizer.token_to_id(name) for name in names)
    return [token_id for token_id in ids if token_id is not None]
