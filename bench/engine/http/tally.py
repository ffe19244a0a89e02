"""How many tokens arrived when: events of an answer, brought to the number that the server says they were.

The usage a server tells is the truth; an event with text counts one token until it is known. Where the two differ:
events without text, which tell of tokens that have none of their own, count one each as far as more tokens were told
than events with text; what is still missing is added to the events with text, and what is too much is taken from them,
in proportion to how long their texts are. The first event keeps one token at least, since it is what was waited for.
A server that tells with each event how many tokens it has reached is taken at its word for each.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import pairwise

from bench.core.records import Chunk, TokenKind

_KINDS: tuple[TokenKind, ...] = ("answer", "thinking")


class Tally:
    """The events of one answer in the order of their arrival; those of one kind that arrived together are one entry."""

    __slots__ = ("_characters", "_kinds", "_reached", "_stamps", "_texts", "_tokens", "events")

    def __init__(self, *, keep_text: bool) -> None:
        self._stamps = array("q")
        self._tokens = array("i")
        self._characters = array("i")
        self._kinds = array("b")
        self._texts: list[str] | None = [] if keep_text else None
        self._reached = array("i")
        """Tokens up to each entry, as far as the server told that with each."""
        self.events = 0
        """Events with text."""

    def add(self, t_ns: int, kind: TokenKind, text: str, tokens: int = 1) -> None:
        """An event with `text`; one that is told in several parts counts its token with one of them."""
        self.events += tokens
        thinks = kind == "thinking"
        if self._stamps and self._stamps[-1] == t_ns and self._kinds[-1] == thinks and self._tokens[-1]:
            self._tokens[-1] += tokens
            self._characters[-1] += len(text)
            if self._texts is not None:
                self._texts[-1] += text
        else:
            self._append(t_ns, thinks, text, tokens)

    def add_silent(self, t_ns: int) -> None:
        """An event that may tell of a token without text."""
        self._append(t_ns, bool(self._kinds and self._kinds[-1]), "", 0)

    def add_held(self, t_ns: int, tokens: int) -> int:
        """An event whose text may turn out to be of either kind. Returns where it is, for `settle`."""
        self.events += tokens
        self._append(t_ns, False, "", tokens)
        return len(self._stamps) - 1

    def settle(self, place: int, kind: TokenKind) -> None:
        """The events held from `place` on are of that kind."""
        for index in range(place, len(self._kinds)):
            self._kinds[index] = kind == "thinking"

    def reached(self, tokens: int) -> None:
        """The newest event brought the answer to so many tokens."""
        behind = len(self._stamps) - len(self._reached)
        if behind == 0 and self._reached:
            self._reached[-1] = tokens
        elif behind > 0:
            before = self._reached[-1] if self._reached else 0
            self._reached.extend([before] * (behind - 1) + [tokens])

    def all_thinking(self) -> None:
        """Everything so far was thinking, as is known only now."""
        self._kinds = array("b", [1]) * len(self._kinds)

    @property
    def any_thinking(self) -> bool:
        return any(self._kinds)

    def chunks(self, told: int | None) -> list[Chunk]:
        """The tokens; `told` is how many the server says they were."""
        tokens: Sequence[int] = self._tokens
        if told is not None and self._tells_each(told):
            tokens = [after - before for before, after in pairwise([0, *self._reached])]
        elif told is not None and told != self.events:
            tokens = _reconciled(self._tokens, self._characters, told)
        chunks: list[Chunk] = []
        for index, n_tokens in enumerate(tokens):
            text = self._texts[index] if self._texts is not None else None
            if n_tokens or text:
                chunks.append(Chunk(self._stamps[index], None, n_tokens, _KINDS[self._kinds[index]], None, text))
        return chunks

    def _tells_each(self, told: int) -> bool:
        reached = self._reached
        return bool(reached) and len(reached) == len(self._stamps) and reached[-1] == told and _rises(reached)

    def _append(self, t_ns: int, thinks: bool, text: str, tokens: int) -> None:
        self._stamps.append(t_ns)
        self._tokens.append(tokens)
        self._characters.append(len(text))
        self._kinds.append(thinks)
        if self._texts is not None:
            self._texts.append(text)


def _rises(reached: Sequence[int]) -> bool:
    """Whether an answer has tokens from its first event on, and never fewer than before."""
    return reached[0] > 0 and all(before <= after for before, after in pairwise(reached))


def _reconciled(tokens: Sequence[int], characters: Sequence[int], told: int) -> list[int]:
    """Tokens of each entry, `told` together; none where there is no entry."""
    missing = told - sum(tokens)
    counts = list(tokens)
    weights = characters if any(characters) else [1] * len(counts)
    if missing > 0:
        for index, count in enumerate(counts):
            if count == 0 and characters[index] == 0 and missing:
                counts[index] = 1
                missing -= 1
        if missing == 0:
            return counts
        return [count + more for count, more in zip(counts, _spread(missing, weights), strict=True)]
    spread = _spread(told, weights)
    first = next((index for index, length in enumerate(weights) if length), 0)
    if told > 0 and spread[first] == 0:
        spread[next(index for index, count in enumerate(spread) if count)] -= 1
        spread[first] = 1
    return spread


def _spread(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in whole parts, each as near to its weight's share as the parts before it leave it."""
    whole = sum(weights)
    reached = given = 0
    parts = []
    for weight in weights:
        reached += weight
        due = (2 * total * reached + whole) // (2 * whole)
        parts.append(due - given)
        given = due
    return parts
