"""Which session is begun next, and what of it is sent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.core.load_spec import ClosedLoadSpec, LoadSpec
from bench.core.sessions import Session, Turn
from bench.load.random_start import random_start


@dataclass(frozen=True, slots=True)
class Opening:
    """A session about to begin."""

    id: str
    """The session's own, with `+N` from its second play on."""
    turns: tuple[Turn, ...]
    play: int = 0
    """How often the session was begun before."""
    warm_up: Turn | None = None
    """A turn to send before the others; it is measured by no one."""
    adds_turns: int = 0
    """Turns that this adds to those the order knew of before: fewer than none where a session begins in its middle."""


class SessionOrder:
    """Goes through `sessions` once, or again and again where `load` recycles them; `load` is None for a warm-up.

    `positions` counts what is begun, over all clients of a run where they share it.
    """

    def __init__(
        self, sessions: Sequence[Session], load: LoadSpec | None, positions: Iterator[int] | None = None
    ) -> None:
        self.endless = isinstance(load, ClosedLoadSpec) and load.recycle
        self._sessions = sessions
        self._seed = 0 if load is None else load.seed
        self._random_starts = load.concurrency if isinstance(load, ClosedLoadSpec) and load.random_start else 0
        self._positions = itertools.count() if positions is None else positions

    @property
    def known_turns(self) -> int:
        """Turns that are certain to be planned."""
        return 0 if self.endless else sum(len(session.turns) for session in self._sessions)

    def next(self) -> Opening | None:
        """The session that is begun now; None where all have been."""
        position = next(self._positions)
        play, index = divmod(position, len(self._sessions))
        if play and not self.endless:
            return None
        session = self._sessions[index]
        name = f"{session.id}+{play}" if play else session.id
        warm_up, turns = None, session.turns
        if position < self._random_starts:
            warm_up, turns = random_start(session, self._seed, position)
        return Opening(name, turns, play, warm_up, len(turns) - (0 if self.endless else len(session.turns)))
