"""Sessions whose first request is made before they are begun, so that none waits for its own prompt."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from bench.core.clock import Clock
from bench.core.sessions import Turn, TurnRequest
from bench.load.order import Opening, SessionOrder
from bench.load.requests import RequestMaker

_MOST_SESSIONS = 256
_MOST_TOKENS = 1_000_000
"""Prompt tokens made ahead: some 40 MB, and eight prompts of 128k."""


@dataclass(frozen=True, slots=True)
class Made:
    """A session about to begin, with its first request by the turn's index."""

    opening: Opening
    requests: Mapping[int, TurnRequest]


class Ahead:
    """Hands sessions out in their order, the next ones made ready as far as memory is given to that."""

    def __init__(self, order: SessionOrder, requests: RequestMaker, clock: Clock) -> None:
        self._order = order
        self._requests = requests
        self._clock = clock
        self._made: deque[Made] = deque()
        self._tokens = 0
        self._exhausted = False
        self.cost_ns = 0
        """What making the last one took."""

    @property
    def full(self) -> bool:
        """Whether no further session can be made ready now."""
        return self._exhausted or len(self._made) >= _MOST_SESSIONS or self._tokens >= _MOST_TOKENS

    def make(self) -> None:
        """Make one more session ready, where there is one and room for it."""
        if self.full or (opening := self._begun()) is None:
            return
        began_ns = self._clock.now_ns()
        made = self._with_its_first(opening)
        self._made.append(made)
        self._tokens += _prompt_tokens(made)
        self.cost_ns = self._clock.now_ns() - began_ns

    def take(self) -> Made | None:
        """The session that begins next; None where all have begun."""
        if self._made:
            made = self._made.popleft()
            self._tokens -= _prompt_tokens(made)
            return made
        opening = self._begun()
        return None if opening is None else self._with_its_first(opening)

    def give_up(self) -> int:
        """Begin no further session; returns how many turns are therefore never sent, 0 where sessions recycle."""
        unsent = 0 if self._order.endless else sum(len(made.opening.turns) for made in self._made)
        while not self._order.endless and (opening := self._begun()) is not None:
            unsent += len(opening.turns)
        self._made.clear()
        self._exhausted = True
        return unsent

    def _begun(self) -> Opening | None:
        opening = None if self._exhausted else self._order.next()
        self._exhausted = opening is None
        return opening

    def _with_its_first(self, opening: Opening) -> Made:
        first = _first(opening)
        return Made(opening, {first.index: self._requests.make(opening.id, first, opening.play)})


def _first(opening: Opening) -> Turn:
    return opening.warm_up or next(turn for turn in opening.turns if not turn.after)


def _prompt_tokens(made: Made) -> int:
    return _first(made.opening).prompt_tokens
