"""A session while it is driven: which of its turns may be sent, as others complete."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from bench.core.sessions import Turn, TurnRequest
from bench.load.order import Opening


class SessionRun:
    """Keeps what every turn still waits for. It sends nothing and knows no clock."""

    __slots__ = (
        "_behind",
        "_ended",
        "_given_up",
        "_latest_ns",
        "_unended",
        "_waits_for",
        "due_ns",
        "hold_ns",
        "opening",
        "requests",
    )

    def __init__(self, opening: Opening, requests: Mapping[int, TurnRequest], due_ns: int, hold_ns: int) -> None:
        self.opening = opening
        self.requests = dict(requests)
        """Prepared and not yet sent, by the turn's index."""
        self.due_ns = due_ns
        self.hold_ns = hold_ns
        self._unended = len(opening.turns)
        self._ended: asyncio.Future[None] | None = None
        self._behind: dict[int, list[Turn]] = {}
        self._waits_for: dict[int, int] = {}
        self._latest_ns: dict[int, int] = {}
        self._given_up: set[int] = set()
        for turn in opening.turns:
            for index in turn.after:
                self._behind.setdefault(index, []).append(turn)
            if turn.after:
                self._waits_for[turn.index] = len(turn.after)

    @property
    def roots(self) -> list[Turn]:
        """The turns that wait for no other."""
        return [turn for turn in self.opening.turns if not turn.after]

    def base_ns(self, turn: Turn) -> int:
        """When the last of what `turn` waited for completed; a root waits for the session to be due."""
        return self._latest_ns.get(turn.index, self.due_ns)

    def waiting_for(self, turn: Turn) -> list[Turn]:
        """The turns that wait for `turn` and for nothing else any more."""
        return [behind for behind in self._behind.get(turn.index, ()) if self._waits_for[behind.index] == 1]

    async def ended(self) -> None:
        """Return once every turn has completed or was given up."""
        if self._unended:
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended

    def complete(self, turn: Turn, end_ns: int) -> list[Turn]:
        """Let `turn` have completed at `end_ns`; returns the turns that now wait for nothing."""
        self._end(1)
        free = []
        for behind in self._behind.get(turn.index, ()):
            self._latest_ns[behind.index] = max(self._latest_ns.get(behind.index, end_ns), end_ns)
            self._waits_for[behind.index] -= 1
            if self._waits_for[behind.index] == 0:
                free.append(behind)
        return free

    def give_up(self, turn: Turn) -> int:
        """Let `turn` not complete; returns how many turns that depend on it are therefore never sent."""
        dependent = [*self._behind.get(turn.index, ())]
        given_up = 0
        while dependent:
            behind = dependent.pop()
            if behind.index not in self._given_up:
                self._given_up.add(behind.index)
                self.requests.pop(behind.index, None)
                given_up += 1
                dependent += self._behind.get(behind.index, ())
        self._end(1 + given_up)
        return given_up

    def _end(self, turns: int) -> None:
        self._unended -= turns
        if self._unended == 0 and self._ended is not None:
            self._ended.set_result(None)
