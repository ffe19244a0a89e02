"""Readings that stand still while others move: a sensor that froze still answers, and always the same.

Power told to a milliwatt and energy to a millijoule do not repeat for long where something computes. A reading is never
judged alone, because on a machine that does nothing at all every one of them may rest.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from bench.core.units import NS_PER_S

FROZEN_AFTER_NS = 10 * NS_PER_S
"""Ten times what the slowest of NVML's power readings averages over."""
MOVES = 10
"""How often others must have moved meanwhile."""


@dataclass(slots=True)
class _Rest:
    """Where a reading rests."""

    value: float
    since_ns: int
    moves: int
    """How often any reading had moved by then."""


class Movement:
    """All readings that are held against one another: one object for the sensors of a run."""

    def __init__(self) -> None:
        self._rests: dict[Hashable, _Rest] = {}
        self._moves = 0

    def is_frozen(self, reading: Hashable, t_ns: int, value: float) -> bool:
        """Whether `reading`, which is `value` at `t_ns`, has stood still too long while others moved."""
        rest = self._rests.get(reading)
        if rest is None:
            self._rests[reading] = _Rest(value, t_ns, self._moves)
            return False
        if rest.value != value:
            self._moves += 1
            rest.value, rest.since_ns, rest.moves = value, t_ns, self._moves
            return False
        return t_ns - rest.since_ns >= FROZEN_AFTER_NS and self._moves - rest.moves >= MOVES
