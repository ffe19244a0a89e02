"""An endpoint engine to ask turns of, and a server that answers what a test wrote down."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvloop

from bench.core.clock import RealClock
from bench.core.records import Chunk, Finish
from bench.core.sessions import Message, Sampling, Segment, Turn, TurnRequest
from bench.core.spec import EndpointEngineSpec
from bench.engine.endpoint import EndpointEngine

T = TypeVar("T")
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
SECONDS = 20.0
EVENT_STREAM = "content-type: text/event-stream"
MODELS = b'{"data": [{"id": "served", "max_model_len": 4096}]}'


def run(main: Coroutine[Any, Any, T], *, on_uvloop: bool = True) -> T:
    """The result of `main`, which may not take long."""

    async def bounded() -> T:
        async with asyncio.timeout(SECONDS):
            return await main

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if on_uvloop else None) as runner:
        return runner.run(bounded())


@dataclass
class Heard:
    """A sink that keeps what it is told, and takes nothing after the end."""

    chunks: list[Chunk] = field(default_factory=list)
    ended: asyncio.Future[Finish] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def chunk(self, chunk: Chunk) -> None:
        assert not self.ended.done()
        self.chunks.append(chunk)

    def finish(self, finish: Finish) -> None:
        self.ended.set_result(finish)

    @property
    def end(self) -> Finish:
        return self.ended.result()

    @property
    def tokens(self) -> int:
        return sum(chunk.n_tokens for chunk in self.chunks)

    @property
    def text(self) -> str:
        return "".join(chunk.text or "" for chunk in self.chunks)

    def tokens_of(self, kind: str) -> int:
        return sum(chunk.n_tokens for chunk in self.chunks if chunk.kind == kind)


def asked(max_tokens: int = 4, *, pinned: bool = True, text: str = "a b c", **turn: Any) -> TurnRequest:
    """A turn of one prompt, in every form that it can be asked in."""
    return TurnRequest(
        session_id="session",
        turn=Turn(0, (Segment("prompt", 3),), max_tokens, **turn),
        prompt_ids=(1, 2, 3),
        max_tokens=max_tokens,
        ignore_eos=pinned,
        sampling=Sampling(),
        messages=(Message("user", text),),
    )


def endpoint(url: str, **spec: Any) -> EndpointEngine:
    return EndpointEngine(EndpointEngineSpec(kind="endpoint", base_url=url, **spec), clock=RealClock())


@asynccontextmanager
async def started(url: str, **spec: Any) -> AsyncIterator[EndpointEngine]:
    engine = endpoint(url, **spec)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def ask(engine: EndpointEngine, request: TurnRequest) -> Heard:
    """What a turn is answered."""
    heard = Heard()
    await engine.submit(engine.prepare(request), heard)
    await heard.ended
    return heard


async def ask_all(engine: EndpointEngine, requests: Sequence[TurnRequest]) -> list[Heard]:
    """What turns are answered that are in flight together."""
    return list(await asyncio.gather(*(ask(engine, request) for request in requests)))


@dataclass
class Server:
    """Answers each request for tokens with the next of `answers`, the last of them again and again."""

    answers: list[Answer]
    models: bytes = MODELS
    url: str = ""
    connections: int = 0
    requests: list[tuple[str, Any]] = field(default_factory=list)
    """Head and JSON of each request for tokens."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if head.startswith("GET"):
                    await sends(response(self.models, "server: scripted"))(writer)
                    continue
                length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("Content-Length:"))
                self.requests.append((head, json.loads(await reader.readexactly(length))))
                await self.answers[min(len(self.requests), len(self.answers)) - 1](writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def answering(
    *answers: Answer | bytes, tls: ssl.SSLContext | None = None, models: bytes = MODELS
) -> AsyncIterator[Server]:
    """A server on this loop; what is bytes is sent as it is."""
    server = Server([sends(answer) if isinstance(answer, bytes) else answer for answer in answers], models)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        listening.close()


def sends(*pieces: bytes, pause_s: float = 0.0, then: str = "keep") -> Answer:
    """Sends `pieces` in writes of their own, and then keeps the connection, or does `close` or `reset` it."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        if then == "close":
            writer.close()
        elif then == "reset":
            writer.transport.abort()

    return answer


def response(body: bytes, *headers: str, status: int = 200) -> bytes:
    """A response whose length its head tells."""
    return head(f"content-length: {len(body)}", *headers, status=status) + body


def head(*headers: str, status: int = 200) -> bytes:
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status} Said", *headers, "")).encode()


def chunked(body: bytes, size: int = 1 << 20) -> bytes:
    """`body` as a response in HTTP chunks of `size` bytes."""
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    told = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head(EVENT_STREAM, "transfer-encoding: chunked") + told + b"0\r\n\r\n"


def event(document: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(document).encode()


def token(text: str, **choice: Any) -> bytes:
    """An event of completions."""
    return event({"choices": [{"index": 0, "text": text, "finish_reason": None, **choice}], "usage": None})


def delta(finish_reason: str | None = None, **delta: Any) -> bytes:
    """An event of a chat."""
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def usage(tokens: int, prompt_tokens: int = 3, **more: Any) -> bytes:
    told = {"prompt_tokens": prompt_tokens, "completion_tokens": tokens, **more}
    return event({"choices": [], "usage": told})


DONE = b"data: [DONE]\n\n"


def stream(*words: str, told: int | None = -1) -> bytes:
    """A whole stream of completions, a word an event, with a usage of `told` tokens, -1 being one a word."""
    ending = b"" if told is None else usage(len(words) if told == -1 else told)
    return b"".join(map(token, words)) + token("", finish_reason="length") + ending + DONE
