"""How much of each prompt was already sent: the most that a prefix cache may hit."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from bench.core.sessions import Segment

_KEPT_PLAYS = 8
"""Plays remembered in any case, those first that a prompt was last sent of."""
_KEPT_NODES = 400_000
"""Below so many all plays are remembered, some 100 MB: where lanes outnumber sessions, many plays are sent at once."""


class Piece(NamedTuple):
    """Tokens `start` to `end` of what a key draws."""

    key: str
    start: int
    end: int


def pieces_of(segments: Sequence[Segment], skip: int = 0, drop: int = 0) -> list[Piece]:
    """The pieces of a prompt without its first `skip` tokens and its last `drop`; none is empty."""
    end = sum(segment.tokens for segment in segments) - drop
    pieces, start = [], 0
    for segment in segments:
        low, high = max(skip - start, 0), min(segment.tokens, end - start)
        if low < high:
            pieces.append(Piece(segment.key, low, high))
        start += segment.tokens
    return pieces


class SharedPrefix:
    """Remembers the prompts of a run by their pieces, as a tree for each play.

    A key that occurs with several lengths draws the same tokens as far as the shortest goes.
    """

    def __init__(self) -> None:
        self._heads: set[tuple[int, ...]] = set()
        self._plays: OrderedDict[int, _Tree] = OrderedDict()
        self._nodes = 0
        """Of all plays."""

    def add(
        self, pieces: Sequence[Piece], *, head: tuple[int, ...] = (), tail: tuple[int, ...] = (), play: int = 0
    ) -> int:
        """Count the leading tokens that earlier calls had, and remember the prompt: `head`, `pieces` and `tail`."""
        # Keys of another play draw other tokens, but what a template puts before them is always the same.
        shared = max((_common(head, sent) for sent in self._heads), default=0)
        self._heads.add(head)
        tree = self._plays.get(play)
        if tree is None:
            tree = self._plays[play] = _Tree()
        self._plays.move_to_end(play)
        self._nodes -= tree.nodes
        shared = max(shared, tree.add(pieces, head, tail))
        self._nodes += tree.nodes
        while self._nodes > _KEPT_NODES and len(self._plays) > _KEPT_PLAYS:
            _, forgotten = self._plays.popitem(last=False)
            self._nodes -= forgotten.nodes
        return shared


class _Tree:
    def __init__(self) -> None:
        self._reached: list[int] = []
        """For each node, how many leading tokens some prompt through it had as its path says."""
        self._nodes: dict[tuple[int, int, Hashable, int], int] = {}
        """By the node before, and by where in the prompt which key goes on from which of its tokens."""
        self._tails: dict[tuple[int, int], tuple[tuple[int, ...], ...]] = {}
        """What followed where the pieces of some prompt ended."""

    @property
    def nodes(self) -> int:
        return len(self._reached)

    def add(self, pieces: Sequence[Piece], head: tuple[int, ...], tail: tuple[int, ...]) -> int:
        node = self._node(-1, 0, head, 0)
        shared, length = 0, len(head)
        for key, start, end in pieces:
            node = self._node(node, length, key, start)
            length += end - start
            reached = self._reached[node]
            shared = max(shared, min(reached, length))
            self._reached[node] = max(reached, length)
        tails = self._tails.get((node, length), ())
        if tails:
            shared = max(shared, length + max(_common(tail, sent) for sent in tails))
        if tail not in tails:
            self._tails[node, length] = (*tails, tail)
        return shared

    def _node(self, before: int, place: int, key: Hashable, start: int) -> int:
        node = self._nodes.setdefault((before, place, key, start), len(self._reached))
        if node == len(self._reached):
            self._reached.append(0)
        return node


class SentTokens:
    """The same for prompts that are known by nothing but their tokens, kept in order of the tokens.

    A prompt that another begins with is kept as part of it: of a conversation, what was sent last.
    """

    def __init__(self) -> None:
        self._sent: list[bytes] = []

    def add(self, ids: Sequence[int]) -> int:
        """As `SharedPrefix.add`."""
        new = np.array(ids, dtype=">u4").tobytes()  # In this order of bytes, bytes are ordered as tokens are.
        place = bisect_left(self._sent, new)
        # Whoever shares most stands next to it.
        shared = max((_common_tokens(new, sent) for sent in self._sent[max(0, place - 1) : place + 1]), default=0)
        if place and new.startswith(self._sent[place - 1]):
            self._sent[place - 1] = new
        elif not (place < len(self._sent) and self._sent[place].startswith(new)):
            self._sent.insert(place, new)
        return shared


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    if one == other:
        return len(one)
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _common_tokens(one: bytes, other: bytes) -> int:
    tokens = min(len(one), len(other)) // 4
    differ = np.frombuffer(one, "u4", tokens) != np.frombuffer(other, "u4", tokens)
    return int(differ.argmax()) if differ.any() else tokens
