"""uvicorn as this server runs it: silent, with our limits, its end decided by somebody else."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from bench.native.server.connection import limited_connection
from bench.native.server.settings import ServerSettings

_LAST_ANSWERS_S = 5
"""How long connections may take for what is written already, once the server ends."""


class HttpServer(uvicorn.Server):
    """Ends when `should_exit` is set; signals are not its matter."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, listening: Callable[[], None]) -> None:
        """`listening` is called once requests are answered."""
        super().__init__(
            uvicorn.Config(
                app,
                http=limited_connection(settings),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=round(settings.idle_s),
                timeout_graceful_shutdown=_LAST_ANSWERS_S,
            )
        )
        self._listening = listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()
