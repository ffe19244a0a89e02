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
from bench.native.speculative.speculator import Drafts, Judgement, most_drafts

_FACTOR = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


class NgramIndex:
    """Where each run of up to `longest` tokens last ended in a text that grows.

    Runs are known by a 64-bit hash; two that collide cost a wrong draft and nothing else. The text that is there from
    the start is indexed in sorted arrays, 16 bytes a token and length, what is added to it in dictionaries, so that a
    step costs the same however long the text is.
    """

    def __init__(self, token_ids: array[int], longest: int) -> None:
        """`token_ids` is the text: the array grows, and what was added is indexed by the next `following`."""
        self._token_ids = token_ids
        self._powers = [pow(_FACTOR, exponent, 1 << 64) for exponent in range(longest)]
        self._early = _sorted_ends(np.array(token_ids, dtype=np.uint64), self._powers)
        self._late: list[dict[int, int]] = [{} for _ in range(longest)]
        self._indexed = len(token_ids) - 1
        self._newest: tuple[int, list[int]] = (0, [])

    def following(self, tokens: int) -> list[int]:
        """The `tokens` tokens that followed the longest run of newest ones, where that last occurred before.

        Empty when not even the newest token did. What is copied may run over the end of the text into itself: a text
        that repeats a phrase is continued with the phrase.
        """
        size = len(self._token_ids)
        for followed in range(self._indexed + 1, size):
            for late, key in zip(self._late, self._keys(followed), strict=False):
                late[key] = followed
        self._indexed = max(self._indexed, size - 1)
        end = self._latest_end(self._keys(size))
        if end is None:
            return []
        text = self._token_ids[end : end + tokens]
        for index in range(tokens - len(text)):
            text.append(text[index])
        return text.tolist()

    def _latest_end(self, keys: list[int]) -> int | None:
        """Where the longest of the runs, given by length, was last followed by another token."""
        for length in range(len(keys), 0, -1):
            key = keys[length - 1]
            end = self._late[length - 1].get(key)
            if end is not None:
                return end
            hashes, ends = self._early[length - 1]
            index = int(hashes.searchsorted(np.uint64(key), side="right")) - 1
            if index >= 0 and int(hashes[index]) == key:
                return int(ends[index])
        return None

    def _keys(self, end: int) -> list[int]:
        """Hashes of the runs that end at `end`, by length: Σ token_i · factor^i, counted back from the end."""
        if self._newest[0] != end:
            keys, value = [], 0
            for place, power in enumerate(self._powers[:end], start=1):
                value = (value + self._token_ids[end - place] * power) & _MASK
                keys.append(value)
            # What a step looks up is what the next one takes in.
            self._newest = (end, keys)
        return self._newest[1]


class NgramSpeculator:
    """Prompt lookup for every running request."""

    on_device = False
    judged_by: Judgement = "match"

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


def _sorted_ends(ids: NDArray[np.uint64], powers: Sequence[int]) -> list[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """By length: the hashes of runs that are followed by another token, ascending, and where each ends.

    Of equal hashes the run that ends last comes last.
    """
    found = []
    hashes = np.zeros(len(ids), dtype=np.uint64)
    for length, power in enumerate(powers, start=1):
        hashes = hashes[1:] + ids[: max(0, len(ids) - length)] * np.uint64(power)
        order = np.argsort(hashes, kind="stable")
        found.append((hashes[order], order + length))
    return found
