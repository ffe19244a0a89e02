"""Prompts told by their lengths and by how much each keeps of what came before, in segments that say the same."""

from __future__ import annotations

from itertools import chain

from bench.core.sessions import Role, Segment

_Piece = tuple[int, int]
"""An addition to the context, by its number, and how many of its first tokens are kept."""


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
        self._ends: list[set[int]] = []
        """Where each addition has ever ended: how many of its first tokens were kept."""
        self._context: list[_Piece] = []
        self._tokens = 0
        self._prompts: list[tuple[_Piece, ...]] = []

    @property
    def tokens(self) -> int:
        """Length of the context, the last answer included."""
        return self._tokens

    def ask(self, kept_tokens: int, new_tokens: int, role: Role = "user") -> None:
        """The next prompt: `kept_tokens` of the context, or all of it if it has fewer, and `new_tokens` more."""
        self._cut(kept_tokens)
        self._add(new_tokens, role)
        self._prompts.append(tuple(self._context))

    def answer(self, tokens: int) -> None:
        self._add(tokens, "assistant")

    def prompts(self) -> list[tuple[Segment, ...]]:
        """What was asked, in order; keys begin with the scope."""
        parts: dict[_Piece, tuple[Segment, ...]] = {}
        for addition, ends in enumerate(self._ends):
            segments: tuple[Segment, ...] = ()
            start = 0
            for end in sorted(ends):
                part = Segment(f"{self._scope}/{addition}:{start}", end - start, self._roles[addition])
                segments = parts[addition, end] = (*segments, part)
                start = end
        return [tuple(chain.from_iterable(map(parts.__getitem__, prompt))) for prompt in self._prompts]

    def _cut(self, tokens: int) -> None:
        while self._tokens > tokens:
            addition, kept = self._context.pop()
            self._tokens -= kept
            if self._tokens < tokens:
                self._keep(addition, tokens - self._tokens)

    def _add(self, tokens: int, role: Role) -> None:
        if tokens:
            self._roles.append(role)
            self._ends.append(set())
            self._keep(len(self._ends) - 1, tokens)

    def _keep(self, addition: int, tokens: int) -> None:
        self._context.append((addition, tokens))
        self._ends[addition].add(tokens)
        self._tokens += tokens
