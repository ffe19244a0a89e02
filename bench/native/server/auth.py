"""Who may ask at all: the bearer of the server's key."""

from __future__ import annotations

import hmac
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from bench.native.server.errors import ApiError
from bench.native.server.responses import error_response

_FREE = frozenset({"/health"})
"""What needs no key: who watches over a process holds none."""


class KeyCheck:
    """ASGI: refuses with 401 whoever does not give the key, before anything else of the request is read."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in _FREE and not self._holds_key(Headers(scope=scope)):
            refusal = error_response(ApiError(HTTPStatus.UNAUTHORIZED, "the key is wrong", code="invalid_api_key"))
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _holds_key(self, headers: Headers) -> bool:
        given = headers.get("authorization", "").encode("latin-1")
        scheme, _, key = given.partition(b" ")
        return hmac.compare_digest(scheme.capitalize() + b" " + key.strip(), self._expected)
