"""When a meter on the network is asked again that did not answer."""

from __future__ import annotations

from bench.core.units import ns_from_seconds

_LONGEST_S = 60.0


class Patience:
    """Keeps the pace of asking after one failure, and waits twice as long after each further one, up to a minute.

    A controller that is asked again while it is busy with the last question grows no faster by it.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._pause_s = interval_s
        self._until_ns: int | None = None
        self._over = False

    def waits(self, t_ns: int) -> bool:
        """Whether nothing is to be asked at `t_ns`."""
        return self._over or (self._until_ns is not None and t_ns < self._until_ns)

    def answered(self) -> None:
        self._pause_s = self._interval_s
        self._until_ns = None

    def failed(self, t_ns: int) -> None:
        self._until_ns = t_ns + ns_from_seconds(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_S)

    def lost(self) -> None:
        """Nothing is asked any more: each further refusal of a password counts towards locking its account."""
        self._over = True
