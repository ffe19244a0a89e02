"""The rows of several clients as one log, each with what of its prompt was shared with what any of them sent before."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from bench.client.messages import Sent
from bench.core.records import TurnRow
from bench.core.sessions import Session
from bench.load.requests import Prompts

_EVERYTHING_NS = 2**63


class Merge:
    """Puts what clients sent into the order of sending, and logs each row once its place in it is known.

    The order is known up to the time that every client has told of.
    """

    def __init__(
        self, sessions: Sequence[Session], prompts: Prompts, clients: int, log: Callable[[TurnRow], None]
    ) -> None:
        self._turns = {session.id: {turn.index: turn for turn in session.turns} for session in sessions}
        self._prompts = prompts
        self._log = log
        self._until_ns = [0] * clients
        self._sent: list[Sent] = []
        self._shared: dict[tuple[str, int], int] = {}
        self._waiting: dict[tuple[str, int], TurnRow] = {}

    def add(self, client: int, until_ns: int, sent: Sequence[Sent], rows: Sequence[TurnRow]) -> None:
        """Take what `client` has to tell of the time up to `until_ns`."""
        for one in sent:
            heapq.heappush(self._sent, one)
        for row in rows:
            self._waiting[row.session_id, row.turn_index] = row
        self._until_ns[client] = until_ns
        self._settle(min(self._until_ns))

    def end(self, client: int) -> None:
        """Wait for `client` no more."""
        self.add(client, _EVERYTHING_NS, (), ())

    def finish(self) -> None:
        """Log what is left, also of turns that a client was lost with."""
        self._settle(_EVERYTHING_NS)
        for row in self._waiting.values():
            self._log(row)
        self._waiting.clear()

    def _settle(self, until_ns: int) -> None:
        while self._sent and self._sent[0].t_ns <= until_ns:
            one = heapq.heappop(self._sent)
            session = one.session_id.removesuffix(f"+{one.play}") if one.play else one.session_id
            turn = self._turns[session][one.turn_index]
            self._shared[one.session_id, one.turn_index] = self._prompts.shared_tokens(turn, one.play)
        for key in [key for key in self._waiting if key in self._shared]:
            row = self._waiting.pop(key)
            row.shared_tokens = self._shared.pop(key)
            self._log(row)
