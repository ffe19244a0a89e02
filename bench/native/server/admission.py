"""How many generations are inside the server at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from bench.native.server.errors import ApiError, no_place


class Places:
    """Who may ask the engine now: a bounded number of places, and a door that closes once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self.closed: str | None = None
        """Why nobody is let in any more; None while the server is open."""
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def enter(self, generations: int) -> AsyncIterator[None]:
        """Hold a place for each of a request's generations.

        Whatever answers is cancelled when its client has left, its time is over or the server ends. Leave it then and
        there: an async generator that was cancelled where it is read runs its `finally` only when it is collected, or
        closed. Raises ApiError: 503 once closed, 429 where too few places are free, 400 where there will never be
        enough.
        """
        self.check_open()
        if generations > self.most:
            raise ApiError(
                HTTPStatus.BAD_REQUEST, f"more than the {self.most} generations this server holds", param="n"
            )
        if self.taken + generations > self.most:
            raise no_place(f"{self.taken} of {self.most} places are taken")
        self.taken += generations
        self._empty.clear()
        try:
            yield
        finally:
            self.taken -= generations
            if not self.taken:
                self._empty.set()

    def close(self, why: str) -> None:
        """Let nobody in any more; who is inside stays. The first reason is kept."""
        self.closed = self.closed or why

    def check_open(self) -> None:
        """Raises ApiError, status 503, once closed."""
        if self.closed is not None:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, self.closed, code="unavailable")

    async def emptied(self) -> None:
        """Return once nobody is inside."""
        await self._empty.wait()
