"""How long a request that asks for no work takes to a server and back."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.core.units import NS_PER_MS, NS_PER_S
from bench.engine.http.address import Address
from bench.engine.http.lookup import Lookup
from bench.engine.http.pool import Pool
from bench.engine.http.request import get_message

_PATH = "/health"
_SETTLING = 2
"""First trips of a series, left out: what they meet may not have run for a while."""
_TRIPS = 30
"""Of a series, as the p90 of one needs 29; fewer where they take longer than `_SERIES_NS` together."""
_SERIES_NS = NS_PER_S


class RoundTrips:
    """Trips to one server, one after another on a connection that is kept, while nothing else is asked of it.

    Whatever the server answers is an answer, also that it has no such path. A trip that fails ends its series.
    """

    def __init__(self, pool: Pool, address: Address, key: str | None, now_ns: Callable[[], int]) -> None:
        self._pool = pool
        self._now_ns = now_ns
        self._message = get_message(replace(address, root=address.root.removesuffix("/v1")), _PATH, key)
        self._status: int | None = None
        self._series_ms: list[list[float]] = []

    async def measure(self) -> None:
        """One more series. Without a free connection it is empty: none is opened for it, and none of it is counted."""
        end_ns = self._now_ns() + _SERIES_NS
        trips_ms: list[float] = []
        for number in range(_SETTLING + _TRIPS):
            trip_ms = await self._trip(end_ns)
            if trip_ms is None:
                break
            if number >= _SETTLING:
                trips_ms.append(trip_ms)
        if trips_ms:
            self._series_ms.append(trips_ms)

    def describe(self) -> dict[str, Any] | None:
        """What was asked, and the milliseconds of each trip, series by series; None where there is none."""
        trips_ms = [trip_ms for series in self._series_ms for trip_ms in series]
        if not trips_ms:
            return None
        return {
            "path": _PATH,
            "status": self._status,
            "n": len(trips_ms),
            "min": min(trips_ms),
            "p50": statistics.median(trips_ms),
            "max": max(trips_ms),
            "series": list(self._series_ms),
        }

    async def _trip(self, end_ns: int) -> float | None:
        """From the write of a request to the last byte of its answer; None where there was no whole one by `end_ns`."""
        trip = Lookup(self._message, end_ns)
        trip.reconnected = True  # a connection that the server closed meanwhile is no reason to open another
        sent_ns = self._now_ns()
        if not self._pool.send_uncounted(trip):
            return None
        try:
            await trip.whole
        except asyncio.CancelledError:
            self._pool.cancel(trip)
            raise
        if trip.failure is not None:
            return None
        self._status = trip.status
        return (trip.heard_ns - sent_ns) / NS_PER_MS
