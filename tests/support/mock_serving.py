"""A mock server on a thread of its own, and a client of it that shares no code with ours."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

from bench.engine.mock_server.server import MockServer
from bench.engine.mock_server.settings import MockServerSettings

AT_ONCE = {"ttft_ms": 0.0, "gap_ms": 0.0}
COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
_SECONDS = 20.0


@contextmanager
def serving(settings: MockServerSettings) -> Iterator[str]:
    """The URL of a server that answers as `settings` say until the end of the block."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = MockServer(settings)
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(), loop).result(_SECONDS)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_SECONDS)
        loop.close()


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool
    """Whether the body came to the end its head declared."""
    events: list[Any] = field(default_factory=list)
    """What stood in its server-sent events, `[DONE]` as that text."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def choices(self) -> list[Any]:
        return [choice for event in self.events if isinstance(event, dict) for choice in event.get("choices", ())]

    def said(self, field: str = "content") -> str:
        """The text of every event, or that field of a chat's deltas."""
        return "".join(choice.get("text") or choice.get("delta", {}).get(field, "") for choice in self.choices)


def connect(url: str) -> http.client.HTTPConnection:
    """A connection that is kept."""
    place = urlsplit(url)
    assert place.hostname is not None
    return http.client.HTTPConnection(place.hostname, place.port, timeout=_SECONDS)


def ask(url: str, path: str = COMPLETIONS, *, headers: dict[str, str] | None = None, **body: Any) -> Answered:
    """Ask on a new connection, streamed unless told otherwise."""
    return asked_on(connect(url), path, headers=headers, **body)


def asked_on(
    connection: http.client.HTTPConnection,
    path: str = COMPLETIONS,
    *,
    headers: dict[str, str] | None = None,
    **body: Any,
) -> Answered:
    prompt = {"messages": [{"role": "user", "content": "hello"}]} if path == CHAT else {"prompt": [1, 2, 3]}
    told = {"Content-Type": "application/json", **(headers or {})}
    connection.request("POST", path, json.dumps({"stream": True, **prompt, **body}), told)
    return _read(connection.getresponse())


def get(url: str, path: str, method: str = "GET") -> Answered:
    connection = connect(url)
    connection.request(method, path)
    return _read(connection.getresponse())


def truth(url: str) -> list[Any]:
    """What the server knows of each request."""
    requests: list[Any] = get(url, "/truth").json["requests"]
    return requests


def _read(response: http.client.HTTPResponse) -> Answered:
    try:
        body, whole = response.read(), True
    except http.client.IncompleteRead as error:
        body, whole = error.partial, False
    lines = [line[len(b"data: ") :] for line in body.split(b"\n\n") if line.startswith(b"data: ")]
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answered(response.status, headers, body, whole, [_parsed(line) for line in lines])


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line.decode(errors="replace")
