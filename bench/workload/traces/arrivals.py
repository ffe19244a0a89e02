"""When sessions of a trace began, by the trace's own clock."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import InputError


class ArrivalClock:
    """Counts from a trace's first arrival, in whatever unit the trace has, and holds it to its order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first: float | None = None
        self._last = 0.0

    def since_first(self, time: float, number: int) -> float:
        """How long after the first arrival `time` is, of the row at line `number`. Raises InputError before the last's.

        Whole numbers stay whole, so that no digit of a long stamp is lost.
        """
        if self._first is None:
            self._first = self._last = time
        if time < self._last:
            raise InputError(
                "it arrives before the row above it", where=f"{self._path}:{number}", allowed="rows in order of arrival"
            )
        self._last = time
        return time - self._first
