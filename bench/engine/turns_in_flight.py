"""The turns that an engine's process was asked and has yet to end."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from bench.core.clock import Clock
from bench.core.protocols import Sink
from bench.core.records import Finish, FinishReason
from bench.core.sessions import TurnRequest


@dataclass(slots=True, eq=False)
class TurnInFlight:
    """The handle of a turn."""

    id: int
    request: TurnRequest
    sink: Sink
    cached_tokens: int | None = field(default=None, kw_only=True)
    """Prompt tokens served from a prefix cache, as far as the engine has told; None while it has not."""


Turn = TypeVar("Turn", bound=TurnInFlight)


class TurnsInFlight(Generic[Turn]):
    """Each is told once how it ended: by the engine, by who cancels it, or by the end of the process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ids = itertools.count()
        self._turns: dict[int, Turn] = {}

    def __len__(self) -> int:
        return len(self._turns)

    def new_id(self) -> int:
        return next(self._ids)

    def add(self, turn: Turn) -> None:
        self._turns[turn.id] = turn

    def get(self, id: int) -> Turn | None:
        """None for one that has ended. What came of one that was cancelled may still be on its way."""
        return self._turns.get(id)

    def finish(self, id: int, reason: FinishReason, error: str | None = None, cached_tokens: int | None = None) -> bool:
        """Tell a turn how it ended, unless it was told before. Returns whether it was told now.

        Without `cached_tokens` what the turn knows of them stands.
        """
        turn = self._turns.pop(id, None)
        if turn is None:
            return False
        if cached_tokens is None:
            cached_tokens = turn.cached_tokens
        turn.sink.finish(Finish(self._clock.now_ns(), reason, cached_tokens=cached_tokens, error=error))
        return True

    def end_with_process(self, line: str, *, asked: bool) -> None:
        """Finish all: as cancelled where the process was asked to end, else as lost, which `line` tells of."""
        for id in list(self._turns):
            if asked:
                self.finish(id, "cancelled")
            else:
                self.finish(id, "failed", f"engine_lost: {line}")
