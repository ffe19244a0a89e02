"""The tokens of segments that have no words of their own."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from bench.workload.shared_prefix import Piece
from bench.workload.vocabulary import Vocabulary

_KEPT_TOKENS = 4_000_000
"""Pieces kept for reuse, in tokens: some 60 MB with their text, thirty sessions of 128k tokens."""
_PIECE_TOKENS = 64
"""What keeping a piece costs beside its tokens."""


class Drawn(NamedTuple):
    ids: tuple[int, ...]
    text: str
    """Empty where the vocabulary has no texts."""


class Draws:
    """Draws tokens from a vocabulary, seeded by salt, play and key: equal in all three is equal, and else unrelated."""

    def __init__(self, vocabulary: Vocabulary, salt: str) -> None:
        self._vocabulary = vocabulary
        self._salt = salt
        self._kept: OrderedDict[tuple[Piece, int], Drawn] = OrderedDict()
        self._kept_tokens = 0

    def seed(self, key: str, play: int) -> str:
        return f"{self._salt}\0{play}\0{key}"

    def of(self, piece: Piece, play: int) -> Drawn:
        kept = self._kept.get((piece, play))
        if kept is not None:
            self._kept.move_to_end((piece, play))
            return kept
        places = self._vocabulary.places(self.seed(piece.key, play), piece.start, piece.end)
        drawn = self._kept[piece, play] = Drawn(self._vocabulary.ids(places), self._vocabulary.text(places))
        self._kept_tokens += len(drawn.ids) + _PIECE_TOKENS
        while self._kept_tokens > _KEPT_TOKENS and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_tokens -= len(dropped.ids) + _PIECE_TOKENS
        return drawn
