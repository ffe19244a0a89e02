"""What a request may bring: JSON, not too large, not too slowly, and not too much of it from all together."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.native.server.errors import ApiError, no_place
from bench.native.server.responses import JSON, error_response
from bench.native.server.settings import ServerSettings


class BodyLimits:
    """ASGI: counts bodies while they are read. Whoever reads one that is too large or too slow gets an ApiError."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            self._check_head(Headers(scope=scope))
        except ApiError as error:
            await error_response(error)(scope, receive, send)
            return
        due_s = asyncio.get_running_loop().time() + self._settings.body_s
        read_bytes, whole = 0, False

        async def counted() -> Message:
            nonlocal read_bytes, whole
            if whole:  # what comes now is that the client left, whenever that is
                return await receive()
            try:
                async with asyncio.timeout_at(due_s):
                    message = await receive()
            except TimeoutError:
                raise ApiError(HTTPStatus.REQUEST_TIMEOUT, f"no body after {self._settings.body_s:g} s") from None
            size, whole = len(message.get("body", b"")), not message.get("more_body", False)
            read_bytes += size
            self._held_bytes += size
            self._check_size(read_bytes)
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._held_bytes -= read_bytes

    def _check_head(self, headers: Headers) -> None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{JSON} is read here")
        length = headers.get("content-length", "")
        if length.isdecimal():
            self._check_size(int(length))

    def _check_size(self, size: int) -> None:
        if size > self._settings.body_bytes:
            raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._settings.body_bytes} bytes")
        if self._held_bytes > self._settings.bodies_bytes:
            raise no_place(f"the requests inside hold {self._settings.bodies_bytes} bytes")
