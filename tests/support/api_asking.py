"""The API over an engine that says what a test tells it to, called as a server calls it and without one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from bench.core.chat_template import ChatTemplate
from bench.core.clock import RealClock
from bench.core.errors import EngineError
from bench.core.protocols import Capabilities, Handle, Sink, StepLog
from bench.core.records import Chunk, Counters, Finish, FinishReason, Startup, TokenKind, TokenLogprob
from bench.core.sessions import TurnRequest
from bench.native.server.admission import Places
from bench.native.server.errors import ApiError
from bench.native.server.longest_token import longest_token
from bench.native.server.service import Service

SECONDS = 10.0
END = "<|eos|>"
HARMONY = ("<|start|>", "<|channel|>", "<|message|>")
Handler = Callable[[Request, Service], Awaitable[Response]]


@cache
def letters(*added: str) -> Tokenizer:
    """A token for each byte, tokens as added, and one that is special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([*added])
    tokenizer.add_special_tokens([AddedToken(END, special=True)])
    return tokenizer


@dataclass
class Turn:
    """What was submitted; tells its sink what it is told to."""

    request: TurnRequest
    sink: Sink
    cancelled: bool = False
    ended: bool = False

    def say(
        self, token_ids: Sequence[int], kind: TokenKind = "answer", logprobs: Sequence[TokenLogprob] | None = None
    ) -> None:
        if not self.ended:
            told = None if logprobs is None else tuple(logprobs)
            self.sink.chunk(Chunk(1, None, len(token_ids), kind, tuple(token_ids), logprobs=told))

    def end(self, reason: FinishReason = "length", cached_tokens: int = 0, error: str | None = None) -> None:
        if not self.ended:
            self.ended = True
            self.sink.finish(Finish(1, reason, cached_tokens=cached_tokens, error=error))


class ToldEngine:
    """Says nothing of its own accord, unless it has a script: then that of each turn, one step a loop."""

    step_log: StepLog | None = None

    def __init__(
        self, script: Callable[[TurnRequest], Sequence[tuple[TokenKind, Sequence[int]]]] | None = None
    ) -> None:
        self.capabilities = Capabilities(True, True, True, False, max_context_tokens=1000, logprobs=5)
        self.turns: list[Turn] = []
        self.sessions_ended: list[str] = []
        self.lost = False
        self._script = script
        self._playing: set[asyncio.Task[None]] = set()

    async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
        if self.lost:
            raise EngineError("a secret of the machine's")
        turn = Turn(request, sink)
        self.turns.append(turn)
        if self._script is not None:
            self._playing.add(asyncio.create_task(self._play(turn, self._script(request))))
        return turn

    async def _play(self, turn: Turn, script: Sequence[tuple[TokenKind, Sequence[int]]]) -> None:
        for kind, token_ids in script:
            await asyncio.sleep(0)
            turn.say(token_ids, kind)
        turn.end("stop", cached_tokens=2)

    async def cancel(self, handle: Handle) -> None:
        assert isinstance(handle, Turn)
        handle.cancelled = True
        handle.end("cancelled")

    async def end_session(self, session_id: str) -> None:
        self.sessions_ended.append(session_id)

    def prepare(self, request: TurnRequest) -> TurnRequest:
        return request

    async def start(self) -> Startup:
        return Startup(0.0)

    async def expect(self, turns: int) -> None: ...

    def counters(self) -> Counters:
        return Counters()

    def describe(self) -> dict[str, Any]:
        return {}

    async def stop(self) -> None: ...


def service_of(
    engine: ToldEngine, tokenizer: Tokenizer | None = None, template: ChatTemplate | None = None, places: int = 100
) -> Service:
    tokenizer = tokenizer or letters()
    return Service(engine, "small", tokenizer, longest_token(tokenizer), template, RealClock(), Places(places))


@dataclass
class Call:
    """One request, answered as far as it is."""

    handler: Handler
    service: Service
    asked: dict[str, Any]
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    sent: list[bytes] = field(default_factory=list)
    error: ApiError | None = None
    over: bool = False

    def __post_init__(self) -> None:
        self._left = asyncio.Event()
        self.may_send = asyncio.Event()
        self.may_send.set()
        self._task = asyncio.create_task(self._answer())

    async def _answer(self) -> None:
        messages = iter([{"type": "http.request", "body": json.dumps(self.asked).encode(), "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in messages:
                return message
            await self._left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            await self.may_send.wait()
            if message["type"] == "http.response.start":
                self.status = int(message["status"])
                self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                self.sent.append(message["body"])
                self.over = not message.get("more_body", False)

        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        try:
            response = await self.handler(Request(scope, receive), self.service)
            await response(scope, receive, send)  # type: ignore[arg-type]  # messages are plain mappings here
        except ApiError as error:
            self.error = error
        except ClientDisconnect:
            assert self._left.is_set()

    def leave(self) -> None:
        self._left.set()

    def cancel(self) -> None:
        self._task.cancel()

    async def ended(self) -> Call:
        await asyncio.wait({self._task}, timeout=SECONDS)
        assert self._task.done()
        if not self._task.cancelled():
            self._task.result()
        return self

    @property
    def json(self) -> Any:
        assert self.error is None, self.error
        return json.loads(b"".join(self.sent))

    @property
    def events(self) -> list[Any]:
        """Those that came, and True for the word that nothing follows."""
        assert self.error is None, self.error
        *events, rest = b"".join(self.sent).decode().split("\n\n")
        assert rest == ""
        data = [event.removeprefix("data: ") for event in events]
        return [True if one == "[DONE]" else json.loads(one) for one in data]


async def settled() -> None:
    """Everything has run that waits for nothing from outside."""
    for _ in range(20):
        await asyncio.sleep(0)


def run(main: Awaitable[Any]) -> Any:
    async def within() -> Any:
        async with asyncio.timeout(SECONDS):
            return await main

    return asyncio.run(within())


def refused(handler: Handler, service: Service, asked: dict[str, Any]) -> ApiError:
    """What a request is refused with before the engine hears of it."""

    async def call() -> ApiError:
        error = (await Call(handler, service, asked).ended()).error
        assert error is not None
        return error

    error = run(call())
    assert isinstance(error, ApiError)
    return error
