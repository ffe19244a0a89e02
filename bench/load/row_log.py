"""Writing rows when nothing is waiting to be sent or stamped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from bench.core.clock import Clock
from bench.core.records import TurnRow
from bench.core.units import NS_PER_MS

_SLICE_NS = NS_PER_MS // 2
"""Longest the loop is held at a time."""


class RowLog:
    """Takes rows at once and hands them to `write` behind whatever the loop has ready by then."""

    def __init__(self, write: Callable[[TurnRow], None], clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._rows: deque[TurnRow] = deque()
        self._filled: asyncio.Future[None] | None = None

    def add(self, row: TurnRow) -> None:
        self._rows.append(row)
        if self._filled is not None and not self._filled.done():
            self._filled.set_result(None)

    async def keep_writing(self) -> None:
        """Write until this is cancelled. Raises what `write` raises."""
        while True:
            if self._rows:
                await asyncio.sleep(0)
            else:
                self._filled = asyncio.get_running_loop().create_future()
                await self._filled
            until_ns = self._clock.now_ns() + _SLICE_NS
            while self._rows and self._clock.now_ns() <= until_ns:
                self._write(self._rows.popleft())

    def write_all(self) -> None:
        while self._rows:
            self._write(self._rows.popleft())
