"""The end of requests that would go on for too long, or past the server's own end."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.native.server.errors import ApiError
from bench.native.server.responses import error_response

ABORT = "neobench.abort"
"""Extension of the ASGI scope: `abort` closes the connection and throws away what the client did not take."""
_LAST_WORDS_S = 1.0


class _Open:
    """A request inside."""

    def __init__(self, limit: asyncio.Timeout, error: ApiError) -> None:
        self.limit = limit
        self.error = error
        """What it is told when its limit has passed."""
        self.content_type: bytes | None = None
        """Of its response; None before that has begun."""
        self.answered = False

    def note(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.content_type = dict(message.get("headers", ())).get(b"content-type", b"")
        elif not message.get("more_body", False):
            self.answered = True


class Deadlines:
    """ASGI: cancels what answers a request when its time is over, and tells the client so.

    Whoever answers ends its generations when it is cancelled.
    """

    def __init__(self, app: ASGIApp, request_s: float) -> None:
        self._app = app
        self._request_s = request_s
        self._open: set[_Open] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = asyncio.timeout(self._request_s)
        error = ApiError(HTTPStatus.GATEWAY_TIMEOUT, f"no end after {self._request_s:g} s", code="timeout")
        request = _Open(limit, error)

        async def noted(message: Message) -> None:
            request.note(message)
            await send(message)

        self._open.add(request)
        try:
            async with limit:
                await self._app(scope, receive, noted)
        except TimeoutError:
            if not limit.expired():
                raise
            if not request.answered:
                await _end(request, scope, receive, send)
        finally:
            self._open.discard(request)

    def end_all(self, error: ApiError) -> None:
        """End every request that is inside now; each is told `error`."""
        now_s = asyncio.get_running_loop().time()
        for request in self._open:
            request.error = error
            if not request.limit.expired():
                request.limit.reschedule(now_s)


async def _end(request: _Open, scope: Scope, receive: Receive, send: Send) -> None:
    """Say why, if the client still listens, or close the connection."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORDS_S):
            if request.content_type is None:
                await error_response(request.error)(scope, receive, send)
                return
            if request.content_type.startswith(b"text/event-stream"):
                event = b"data: %b\n\n" % request.error.as_json()
                await send({"type": "http.response.body", "body": event, "more_body": False})
                return
    extension = scope.get("extensions", {}).get(ABORT)
    if extension is not None:
        extension["abort"]()
