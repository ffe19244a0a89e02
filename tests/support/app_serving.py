"""The server around a handler of a test's own, on a thread, asked over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import uvloop
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send
from tokenizers import Tokenizer

from bench.core.clock import RealClock
from bench.core.listening import bound_socket
from bench.core.protocols import Engine
from bench.core.spec import MockEngineSpec
from bench.engine.mock import MockEngine
from bench.native.server.admission import Places
from bench.native.server.app import App, Generates, build_app
from bench.native.server.counted_engine import CountedEngine
from bench.native.server.errors import ApiError
from bench.native.server.http_server import HttpServer
from bench.native.server.metrics import Metrics
from bench.native.server.service import Service
from bench.native.server.settings import ServerSettings

SECONDS = 20.0
GENERATE = "/v1/completions"


class Asked(msgspec.Struct):
    """What the handler here does: so many events, so long apart and so much longer, whole or as a stream."""

    events: int = 1
    pause_s: float = 0.0
    padding: int = 0
    stream: bool = False
    generations: int = 1
    fail: bool = False


class Stream(StreamingResponse):
    """Closes what it streams, also when it is cancelled while it sends: only then is a generator's end run at once."""

    async def stream_response(self, send: Send) -> None:
        assert isinstance(self.body_iterator, AsyncGenerator)
        async with contextlib.aclosing(self.body_iterator):
            await super().stream_response(send)


async def generate(request: Request, service: Service) -> Response:
    try:
        asked = msgspec.json.decode(await request.body(), type=Asked)
    except msgspec.DecodeError as error:
        raise ApiError(HTTPStatus.BAD_REQUEST, str(error)) from None
    entered = service.admission.enter(asked.generations)
    await entered.__aenter__()

    async def events() -> AsyncGenerator[bytes]:
        try:
            for index in range(asked.events):
                await asyncio.sleep(asked.pause_s)
                if asked.fail:
                    raise RuntimeError("a secret of the server's")
                yield b"data: %d%b\n\n" % (index, b" " * asked.padding)
        finally:
            await entered.__aexit__(None, None, None)

    if asked.stream:
        return Stream(events(), media_type="text/event-stream")
    return Response(b"".join([event async for event in events()]), media_type="application/json")


@dataclass
class Served:
    """A server that answers."""

    url: str
    places: Places
    app: App
    http: HttpServer
    loop: asyncio.AbstractEventLoop
    told: list[str] = field(default_factory=list)
    """What it says of its own mistakes."""

    def do(self, what: Callable[[], Any]) -> None:
        """Do something on the server's loop."""
        self.loop.call_soon_threadsafe(what)

    def connect(self) -> socket.socket:
        place = urlsplit(self.url)
        return socket.create_connection((place.hostname, place.port or 0), timeout=SECONDS)

    def say(self, *pieces: bytes) -> bytes:
        """All that is answered, until the server closes, to what is sent in these pieces."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            return heard(connection)


def request_head(body_bytes: int) -> bytes:
    """Of a request that generates."""
    head = f"POST {GENERATE} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {body_bytes}\r\n\r\n"
    return head.encode()


def heard(connection: socket.socket) -> bytes:
    """All that comes until the other end closes, or resets, the connection."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while more := connection.recv(1 << 16):
            said += more
    return said


@contextmanager
def app_serving(places: int = 4, **settings: Any) -> Iterator[Served]:
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    ready = threading.Event()
    served = assembled(loop, ready.set, places=places, **settings)
    bound, served.url = bound_socket("127.0.0.1", 0)
    serving = asyncio.run_coroutine_threadsafe(served.http.serve([bound]), loop)
    try:
        assert ready.wait(SECONDS)
        yield served
    finally:
        served.do(lambda: served.app.deadlines.end_all(ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "the test is over")))
        served.http.should_exit = True
        serving.result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()


def assembled(loop: asyncio.AbstractEventLoop, listening: Callable[[], None], **settings: Any) -> Served:
    """A server that does not listen yet."""
    clock, told = RealClock(), list[str]()
    resolved = ServerSettings(model='a "tiny" one', **settings)
    places, metrics = Places(resolved.places), Metrics(resolved.model, "1.2.3")
    engine: Engine = CountedEngine(MockEngine(MockEngineSpec(kind="mock"), clock=clock), metrics, clock)
    service = Service(engine, resolved.model, cast(Tokenizer, None), None, None, clock, places)
    app = build_app(
        service,
        metrics,
        resolved,
        {GENERATE: Generates(generate, Asked)},
        version="1.2.3",
        created_s=7,
        tell=told.append,
    )
    return Served("", places, app, HttpServer(app.asgi, resolved, listening), loop, told)
