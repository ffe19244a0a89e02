"""A made-up meter on the network: HTTP on loopback, on a thread, whose answers a test may change while it runs."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_SECONDS = 20.0
LOCALHOST = Path(__file__).parents[1] / "unit/endpoint/localhost.pem"
"""A key made for tests, and the certificate of `localhost` that it signed itself."""

USER, PASSWORD = "reader", "s3cret: pässword"


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    status: int = 200
    location: str | None = None
    hangs: bool = False
    """Until the test is over."""


@dataclass
class Meter:
    """A meter that answers with what `tells` has for a path, and 404 for any other."""

    tells: dict[str, Any]
    """An Answer, text, or what becomes JSON; or a function that makes one of these each time."""
    url: str = ""
    asked: list[str] = field(default_factory=list)
    methods: set[str] = field(default_factory=set)
    login: tuple[str, str] | None = None
    """Without which it answers 401."""
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str, authorization: str | None) -> Answer:
        self.asked.append(path)
        if self.login is not None and authorization != _basic(*self.login):
            return Answer(status=401)
        told = self.tells.get(path, Answer(status=404))
        told = told() if callable(told) else told
        if isinstance(told, Answer):
            return told
        return Answer(told.encode() if isinstance(told, str) else json.dumps(told).encode())


@contextmanager
def meter_serving(tells: dict[str, Any], *, login: tuple[str, str] | None = None, tls: bool = False) -> Iterator[Meter]:
    meter = Meter(tells, login=login)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            meter.methods.add(self.command)
            answer = meter.answer(self.path, self.headers.get("Authorization"))
            if answer.hangs:
                meter.over.wait(_SECONDS)
                self.close_connection = True
                return
            self.send_response(answer.status)
            if answer.location is not None:
                self.send_header("Location", answer.location)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients that have heard enough hang up."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(LOCALHOST)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    port = server.server_address[1]
    meter.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield meter
    finally:
        meter.over.set()
        server.shutdown()
        server.server_close()
        thread.join(_SECONDS)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
