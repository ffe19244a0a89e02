"""HTTP/1.1 as a server reads and writes it: requests from bytes, response heads."""

from __future__ import annotations

import json
from http import HTTPStatus

import httptools

_HEADS = {status: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_MOST_BODY_BYTES = 64 * 2**20
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BadHttpError(Exception):
    """Bytes that are no request this server reads; nothing after them can be trusted."""


class HttpRequest:
    """One request, whole."""

    __slots__ = ("body", "headers", "keep_alive", "method", "path")

    def __init__(self, method: bytes, path: bytes, headers: dict[bytes, bytes], body: bytes, keep_alive: bool) -> None:
        self.method = method
        self.path = path
        """Without its query."""
        self.headers = headers
        """By name in lower case; of those that come twice, the last."""
        self.body = body
        self.keep_alive = keep_alive

    def header(self, name: str) -> str | None:
        value = self.headers.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")


class HttpReader:
    """Cuts what a connection receives into requests, however the bytes are split."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._requests: list[HttpRequest] = []
        self.wants_continue = False
        """A client waits to be told that it may send its body; whoever tells it sets this back."""
        self.on_message_begin()

    def feed(self, data: bytes) -> list[HttpRequest]:
        """The requests that `data` completes. Raises BadHttpError."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise BadHttpError("a request to change the protocol") from None
        except httptools.HttpParserError as error:
            raise BadHttpError(str(error.__context__ or error)) from None
        done, self._requests = self._requests, []
        return done

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.wants_continue = self._headers.get(b"expect", b"").lower() == b"100-continue"

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > _MOST_BODY_BYTES:
            raise BadHttpError(f"a body of more than {_MOST_BODY_BYTES} bytes")
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.wants_continue = False
        parser = self._parser
        if parser.get_http_version() != "1.1":
            raise BadHttpError("HTTP/1.1 is spoken here")
        path = self._url.partition(b"?")[0]
        body = b"".join(self._body)
        self._requests.append(HttpRequest(parser.get_method(), path, self._headers, body, parser.should_keep_alive()))


def response_head(status: int, keep_alive: bool, *headers: tuple[str, str]) -> bytes:
    """A response up to its body."""
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    if not keep_alive:
        lines.append("connection: close\r\n")
    return _HEADS[HTTPStatus(status)] + "".join(lines).encode("latin-1") + b"\r\n"


def response(status: int, body: bytes, keep_alive: bool, *headers: tuple[str, str]) -> bytes:
    """A whole response whose body is JSON."""
    told = (("content-type", "application/json"), ("content-length", str(len(body))))
    return response_head(status, keep_alive, *told, *headers) + body


def error_response(status: int, message: str, keep_alive: bool, *headers: tuple[str, str]) -> bytes:
    """A failure in the API's own form."""
    error = {"message": message, "type": HTTPStatus(status).phrase, "code": status}
    return response(status, json.dumps({"error": error}).encode(), keep_alive, *headers)
