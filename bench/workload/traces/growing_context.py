"""Prompts told by their lengths and by how much each keeps of what came before, in segments that say the same."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict

from bench.core.records import Role, Segment


class GrowingContext:
    """One session's context while its turns follow one another.

    Each prompt keeps the context's first tokens, all or fewer, and adds new ones; an answer adds its own. Two prompts
    then share segments exactly as far as the lengths say. Where a later prompt keeps only a part of what an earlier one
    added, both have it in the same parts, so prompts are only known when all of the session has been told.
    """

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._roles: list[Role] = []
        """Of each addition."""
        self._context: list[tuple[int, int]] = []
        """Additions, each with how many of its first tokens are kept."""
        self._prompts: list[tuple[tuple[int, int], ...]] = []

    @property
    def tokens(self) -> int:
        """Length of the context, the last answer included."""
        return sum(kept for _, kept in self._context)

    def ask(self, kept_tokens: int, new_tokens: int, role: Role = "user") -> None:
        """The next prompt: `kept_tokens` of the context, or all of it if it has fewer, and `new_tokens` more."""
        self._cut(kept_tokens)
        self._add(new_tokens, role)
        self._prompts.append(tuple(self._context))

    def answer(self, tokens: int) -> None:
        self._add(tokens, "assistant")

    def prompts(self) -> list[tuple[Segment, ...]]:
        """What was asked, in order; keys begin with the scope."""
        ends: defaultdict[int, set[int]] = defaultdict(set)
        for prompt in self._prompts:
            for addition, kept in prompt:
                ends[addition].add(kept)
        parts = {addition: self._parts(addition, sorted(cuts)) for addition, cuts in ends.items()}
        return [
            tuple(part for addition, kept in prompt for part in _within(parts[addition], kept))
            for prompt in self._prompts
        ]

    def _parts(self, addition: int, ends: list[int]) -> list[tuple[int, Segment]]:
        """The addition cut wherever some prompt ends it: each part with its end."""
        starts = [0, *ends]
        return [
            (end, Segment(f"{self._scope}/{addition}:{start}", end - start, self._roles[addition]))
            for start, end in zip(starts, ends, strict=False)
        ]

    def _cut(self, tokens: int) -> None:
        left = tokens
        kept_context = []
        for addition, kept in self._context:
            if left <= 0:
                break
            kept_context.append((addition, min(kept, left)))
            left -= kept
        self._context = kept_context

    def _add(self, tokens: int, role: Role) -> None:
        if tokens:
            self._context.append((len(self._roles), tokens))
            self._roles.append(role)


def _within(parts: list[tuple[int, Segment]], kept: int) -> list[Segment]:
    return [segment for _, segment in parts[: bisect_right(parts, kept, key=lambda part: part[0])]]
