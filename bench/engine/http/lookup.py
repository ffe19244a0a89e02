"""A small answer that someone waits for."""

from __future__ import annotations

import asyncio

from bench.engine.http.exchange import Exchange


class Lookup(Exchange):
    """It is read when it is whole, by whoever awaits that."""

    __slots__ = ("whole",)

    def __init__(self, message: bytes, deadline_ns: int) -> None:
        self.whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        super().__init__(message, deadline_ns)

    def grew(self) -> None:
        """Nothing is read before the end."""

    def ended(self) -> None:
        if not self.whole.done():
            self.whole.set_result(None)
