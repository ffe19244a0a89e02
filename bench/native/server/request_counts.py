"""How many requests were answered what."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.native.server.prometheus import Counts


class RequestCounts:
    """ASGI: counts requests once they are answered, those to unknown paths together."""

    def __init__(self, app: ASGIApp, counts: Counts, routes: Iterable[str]) -> None:
        self._app = app
        self._counts = counts
        self._routes = frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = "none"  # of one whose client left before it was answered

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(int(message["status"]))
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._counts.add(scope["path"] if scope["path"] in self._routes else "other", status)
