"""A client's connection: uvicorn's, with limits that it does not have on heads, idleness and how many there are."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bench.native.server.deadlines import ABORT
from bench.native.server.errors import ApiError
from bench.native.server.settings import ServerSettings

MIDDLE = "neobench.middle"
"""Extension of the ASGI scope: `send` takes parts between the first and the last of a response's body, past whoever
looks on at how responses begin and end."""


class LimitedConnection(HttpToolsProtocol):
    """Ends a connection whose next head is too long or does not come.

    What is left of a body after its request was answered counts as waiting for a head, too: it is read and thrown
    away, for a client that sends hears no answer, but not forever.
    """

    settings: ServerSettings
    """Set by `limited_connection`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        if len(self.connections) > self.settings.connections:
            self.transport.abort()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.settings.head_bytes:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {self.settings.head_bytes} bytes")
                return
        if self._in_head or self._answered():
            self._expect_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self._abort}}
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_came()
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope is self.scope:
            self.scope["extensions"][MIDDLE] = {"send": self.cycle.send}

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer what is no request, and close. In the middle of another answer there is no place for words."""
        if self._answered():
            body = ApiError(status, message).as_json()
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()

    def _answered(self) -> bool:
        """Whether every request that came whole, if one did, has its answer."""
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.settings.head_s, self._abort)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _abort(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


def limited_connection(settings: ServerSettings) -> type[LimitedConnection]:
    """The class that uvicorn makes one of for each connection."""
    return type("LimitedConnection", (LimitedConnection,), {"settings": settings})
