"""Drafts by prompt lookup: what followed the newest tokens when they last occurred in the request's own text.

Saxena 2023, "Prompt Lookup Decoding" (github.com/apoorvumang/prompt-lookup-decoding). It costs no device time, and pays
where an output repeats its input: edited code, quoted documents, tool calls.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.native.request import Request, Slice
from bench.native.speculative.speculator import Drafts, most_drafts

_FACTOR = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


class NgramIndex:
    """Where each run of up to `longest` tokens last ended in a text that grows.

    Runs are known by a 64-bit hash; two that collide cost a wrong draft and nothing else. The text that is there from
    the start is indexed in sorted arrays, 16 bytes a token and length, what is added to it in a dictionary, so that a
    step costs the same however long the text is.
    """

    def __init__(self, token_ids: array[int], longest: int) -> None:
        """`token_ids` is the text: the array grows, and what was added is indexed by the next `following`."""
        self._token_ids = token_ids
        self._longest = longest
        ids = np.array(token_ids, dtype=np.uint64)
        self._early = [_sorted_ends(ids, length) for length in range(1, longest + 1)]
        self._late: dict[int, int] = {}
        self._indexed = len(token_ids) - 1

    def following(self, tokens: int) -> list[int]:
        """The `tokens` tokens that followed the longest run of newest ones, where that last occurred before.

        None when not even the newest token did. What is copied may run over the end of the text into itself: a text
        that repeats a phrase is continued with the phrase.
        """
        self._index_late()
        end = self._latest_end()
        if end is None:
            return []
        text = self._token_ids[end : end + tokens]
        for index in range(tokens - len(text)):
            text.append(text[index])
        return list(text)

    def _latest_end(self) -> int | None:
        size = len(self._token_ids)
        for length in range(min(self._longest, size), 0, -1):
            key = self._hash(size, length)
            end = self._late.get(key)
            if end is None:
                end = self._early_end(key, length)
            if end is not None:
                return end
        return None

    def _early_end(self, key: int, length: int) -> int | None:
        hashes, ends = self._early[length - 1]
        index = int(hashes.searchsorted(np.uint64(key), side="right")) - 1
        return int(ends[index]) if index >= 0 and int(hashes[index]) == key else None

    def _index_late(self) -> None:
        """Take in the runs that have been followed by a token since the last time."""
        for end in range(self._indexed + 1, len(self._token_ids)):
            for length in range(1, min(self._longest, end) + 1):
                self._late[self._hash(end, length)] = end
        self._indexed = max(self._indexed, len(self._token_ids) - 1)

    def _hash(self, end: int, length: int) -> int:
        value = length
        for token in self._token_ids[end - length : end]:
            value = (value * _FACTOR + token) & _MASK
        return value


class NgramSpeculator:
    """Prompt lookup for every running request."""

    def __init__(self, *, tokens: int, match_tokens: int, max_running: int) -> None:
        self._tokens = tokens
        self._match_tokens = match_tokens
        self._indices: list[NgramIndex | None] = [None] * max_running
        self._found: list[list[int]] = [[]] * max_running

    def begin(self, request: Request, token_ids: array[int]) -> None:
        self._indices[request.row] = NgramIndex(token_ids, self._match_tokens)

    def plan(self, request: Request) -> int:
        tokens = most_drafts(request, self._tokens)
        index = self._indices[request.row] if tokens > 0 else None
        found = index.following(tokens) if index is not None else []
        self._found[request.row] = found
        return len(found)

    def draft(self, slices: Sequence[Slice]) -> Drafts:
        return Drafts([self._found[request.row][:drafts] if drafts else [] for request, _, drafts in slices])


def _sorted_ends(ids: NDArray[np.uint64], length: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of the runs of `length` tokens that are followed by another, ascending, and where each ends.

    Of equal hashes the run that ends last comes last.
    """
    runs = max(0, len(ids) - length)
    hashes = np.full(runs, length, dtype=np.uint64)
    for offset in range(length):
        hashes = hashes * np.uint64(_FACTOR) + ids[offset : offset + runs]
    order = np.argsort(hashes, kind="stable")
    return hashes[order], order + length
