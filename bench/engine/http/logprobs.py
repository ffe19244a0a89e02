"""The log probabilities in an answer, in either form of the API: those of completions, and those of chats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

from bench.core.records import Chunk, TokenLogprob
from bench.core.sessions import TurnRequest
from bench.engine.http.completion import Choice, LikelyChoice, Logprobs, Usage
from bench.engine.http.message import Answer, Message

_ID = "token_id:"
"""What vLLM puts before a token's number where it is asked to tell that in place of its text."""


class LogprobMessage(Message):
    """A message whose tokens come with log probabilities, which also say how many tokens each event had.

    Its notes have `logprobs_missing` where there are not as many as tokens.
    """

    __slots__ = ("_most", "_tokens", "_told")

    def __init__(self, request: TurnRequest) -> None:
        super().__init__(request)
        self._most = request.logprobs
        self._told: dict[int, tuple[TokenLogprob, ...]] = {}
        """By the entry of the tally that their text was added to."""
        self._tokens = 0

    def add(self, t_ns: int, choice: Choice) -> None:
        super().add(t_ns, choice)
        if isinstance(choice, LikelyChoice) and choice.logprobs is not None:
            told = _read(choice.logprobs, self._most)
            # Where there is none yet, it is the first that they are of.
            entry = max(0, self.tally.entries - 1)
            self._told[entry] = (*self._told.get(entry, ()), *told)
            self._tokens += len(told)

    def reached(self, usage: Usage | None) -> bool:
        if not super().reached(usage):
            self.tally.reached(self._tokens)
        return True

    def finished(self, notes: list[str]) -> Answer:
        answer = super().finished(notes)
        if self._tokens == answer.tokens:
            return answer
        return replace(answer, notes=(*answer.notes, "logprobs_missing"))

    def _tokens_without_usage(self) -> int | None:
        return self._tokens if self._tokens >= self.tally.events else None

    def _chunks(self, counts: Sequence[int]) -> Iterator[Chunk]:
        return self.tally.chunks(counts, [self._told.get(entry) for entry in range(self.tally.entries)])


def _read(told: Logprobs, most: int) -> tuple[TokenLogprob, ...]:
    """One for each token, with the `most` likely; one that has no figure is left out."""
    if told.content is not None:
        return tuple(
            TokenLogprob(_token(one.token), one.logprob, _top(((t.token, t.logprob) for t in one.top_logprobs), most))
            for one in told.content
        )
    places = zip_longest(told.tokens or (), told.token_logprobs or (), told.top_logprobs or ())
    return tuple(
        TokenLogprob(_token(token), logprob, _top((top or {}).items(), most))
        for token, logprob, top in places
        if token is not None and logprob is not None
    )


def _top(told: Iterable[tuple[str, float]], most: int) -> tuple[tuple[int | str, float], ...]:
    """From likely to unlikely. Servers tell the chosen token beside the most likely, which makes one too many."""
    likely = sorted(told, key=lambda one: one[1], reverse=True)[:most]
    return tuple((_token(token), logprob) for token, logprob in likely)


def _token(told: str) -> int | str:
    number = told.removeprefix(_ID)
    return int(number) if number != told and number.isdecimal() else told
