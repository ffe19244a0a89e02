"""How many tokens arrived when: events of an answer, brought to the number that the server says they were.

The usage a server tells is the truth; an event with text counts one token until it is known. Where the two differ:
events without text, which tell of tokens that have none of their own, count one each as far as more tokens were told
than events with text; what is still missing is added to the events with text, and what is too much is taken from them,
in proportion to how long their texts are. The first event keeps one token at least, since it is what was waited for.
A server that tells with each event how many tokens it has reached is taken at its word for each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, repeat

from bench.core.records import Chunk, TokenKind, TokenLogprob

_KINDS: tuple[TokenKind, ...] = ("answer", "thinking")


class Tally:
    """The events of one answer in the order of their arrival; those of one kind that arrived together are one entry."""

    __slots__ = ("_characters", "_kinds", "_reached", "_silent", "_stamps", "_texts", "_tokens", "events")

    def __init__(self, *, keep_text: bool) -> None:
        self._stamps = array("q")
        self._tokens = array("i")
        self._characters = array("i")
        self._kinds = array("b")
        self._texts: list[str] | None = [] if keep_text else None
        self._silent = array("i")
        """Which entries are events without text."""
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

    def add_silent(self, t_ns: int, *, thinks: bool = False) -> None:
        """An event that may tell of a token without text: thinking if it says so, or else what the one before was."""
        self._silent.append(len(self._stamps))
        self._append(t_ns, thinks or bool(self._kinds and self._kinds[-1]), "", 0)

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

    def counts(self, told: int | None) -> Sequence[int]:
        """Tokens of each entry; `told` is how many the server says they were together."""
        if told is not None and self._tells_each(told):
            return [after - before for before, after in pairwise([0, *self._reached])]
        if told is None or told == self.events:
            return self._tokens
        missing = told - self.events
        if 0 < missing <= len(self._silent):
            counts = self._tokens[:]
            for place in self._silent[:missing]:
                counts[place] = 1
            return counts
        return self._spread_over_texts(told)

    @property
    def entries(self) -> int:
        return len(self._stamps)

    def chunks(
        self, counts: Sequence[int], logprobs: Iterable[tuple[TokenLogprob, ...] | None] = repeat(None)
    ) -> Iterator[Chunk]:
        """The tokens of each entry that has some, or words no token is counted for; a long answer has very many.

        `logprobs` are those of each entry.
        """
        texts: Iterable[str | None] = repeat(None) if self._texts is None else self._texts
        rows = zip(self._stamps, counts, self._kinds, texts, logprobs, strict=False)
        for t_ns, n_tokens, thinks, text, likely in rows:
            if n_tokens or text:
                yield Chunk(t_ns, None, n_tokens, _KINDS[thinks], None, text, likely)

    def _spread_over_texts(self, told: int) -> Sequence[int]:
        """`told` tokens over entries too few or too many for them; none where there is no entry."""
        weights = self._characters if any(self._characters) else [1] * len(self._stamps)
        missing = told - self.events - len(self._silent)
        if missing > 0:
            counts = [count + more for count, more in zip(self._tokens, _spread(missing, weights), strict=True)]
            for place in self._silent:
                counts[place] += 1
            return counts
        spread = _spread(told, weights)
        first = next((index for index, weight in enumerate(weights) if weight), 0)
        if told > 0 and spread and spread[first] == 0:
            spread[next(index for index, count in enumerate(spread) if count)] -= 1
            spread[first] = 1
        return spread

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
