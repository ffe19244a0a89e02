"""A relay that stands before a server and knows when everything passed: the truth of servers that keep none.

    python tests/crosscheck/witness.py URL

Its first line says where it listens. It answers `GET /truth` and `POST /reset` as `bench mock` does; all else it passes
on as it comes, and looks into it only when it is asked. A request's time is that of its last byte, a token's that of
the last byte of its event. One request at a time is taken to be on a connection.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

_EVENT = re.compile(rb"data: (\{.*?\})\r?\n\r?\n", re.DOTALL)
_HTTP_CHUNK = re.compile(rb"\r\n[0-9a-fA-F]+\r\n")
_READ_BYTES = 65_536
_TEXTS = ("text", "content", "reasoning_content", "reasoning")
_STREAMED = (b"POST /v1/completions", b"POST /v1/chat/completions")
_PATH_BYTES = max(map(len, _STREAMED))


@dataclass
class Passed:
    """One request and its answer."""

    t_received_ns: int
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    """Of the answer, each with its time."""

    def as_json(self, number: int) -> dict[str, Any]:
        """As a log of truth tells it. An event that passed in two pieces has the time of the second."""
        writes: list[list[int]] = []
        usage: dict[str, Any] = {}
        rest = b""
        for t_ns, piece in self.pieces:
            rest += piece
            end = 0
            tokens = 0
            for event in _EVENT.finditer(rest):
                told = json.loads(_HTTP_CHUNK.sub(b"", event[1]))
                usage = told.get("usage") or usage
                tokens += any(map(is_token, told.get("choices", ())))
                end = event.end()
            rest = rest[end:]
            if tokens:
                writes.append([t_ns, tokens])
        return {
            "number": number,
            "prompt_tokens": usage.get("prompt_tokens", 0),
            "tokens": usage.get("completion_tokens", sum(count for _, count in writes)),
            "t_received_ns": self.t_received_ns,
            "t_writes_ns": [t_ns for t_ns, _ in writes],
            "write_tokens": [count for _, count in writes],
        }


def is_token(choice: dict[str, Any]) -> bool:
    """Whether a choice of an event is for a token, be it one that reads nothing: a role is not, nor is a finish."""
    said = choice if "text" in choice else choice.get("delta", {})
    told = [said[name] for name in _TEXTS if said.get(name) is not None]
    return any(told) or (bool(told) and choice.get("finish_reason") is None and "role" not in said)


class Witness:
    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._passed: list[Passed] = []

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=_READ_BYTES)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.read(_READ_BYTES)
            if first.startswith((b"GET /truth", b"POST /reset")):
                writer.write(self._told(first))
                await writer.drain()
            elif first:
                await self._pass_on(first, reader, writer)
        except OSError:
            pass  # whoever left, the other side is told by the end of its connection
        finally:
            writer.close()

    def _told(self, head: bytes) -> bytes:
        if head.startswith(b"POST"):
            self._passed.clear()
            body = b"{}"
        else:
            requests = [one.as_json(number) for number, one in enumerate(self._passed, start=1)]
            body = json.dumps({"connections": 0, "requests": requests}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)

    async def _pass_on(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._host, self._port, limit=_READ_BYTES)
        current: list[Passed | None] = [None]
        answers = asyncio.create_task(self._answers(there_reader, writer, current))
        try:
            data = first
            while data:
                self._note_request(data, current)
                there_writer.write(data)
                data = await reader.read(_READ_BYTES)
        finally:
            there_writer.close()
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)

    def _note_request(self, data: bytes, current: list[Passed | None]) -> None:
        """A piece that begins as a request is one; any other is more of the one before."""
        now_ns = time.monotonic_ns()
        if data.startswith(_STREAMED):
            current[0] = Passed(now_ns)
            self._passed.append(current[0])
        elif data[:_PATH_BYTES].startswith((b"GET ", b"POST ")):
            current[0] = None
        elif current[0] is not None and not current[0].pieces:
            current[0].t_received_ns = now_ns

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, current: list[Passed | None]
    ) -> None:
        while data := await reader.read(_READ_BYTES):
            if current[0] is not None:
                current[0].pieces.append((time.monotonic_ns(), data))
            writer.write(data)
        writer.close()


async def main(url: str) -> None:
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    server = await Witness(place.hostname, place.port).serve()
    print(json.dumps({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}), flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))
