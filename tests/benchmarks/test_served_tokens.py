"""What a streamed token costs the server beside its engine and its connection: 64 streams, a token each in every step.

The aim is 10 us. `us_per_token` is the CPU time of the thread over the tokens; nothing here is asserted.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import uvloop
from api_asking import Handler, ToldEngine, service_of
from pytest_benchmark.fixture import BenchmarkFixture
from starlette.requests import Request

from bench.core.chat_template import ChatTemplate
from bench.core.tokenizer import load_tokenizer
from bench.native.server.chat import chat_completions
from bench.native.server.completions import completions

pytestmark = pytest.mark.benchmark(timer=time.thread_time)

MODEL = Path(__file__).parents[2] / "configs" / "models" / "tiny"
STREAMS, STEPS = 64, 500
TEXT = "The quick brown fox jumps over the lazy dog. " * STEPS
CHAT = {"messages": [{"role": "user", "content": "hi"}]}
USAGE = {"stream_options": {"include_usage": True}}


def stream(handler: Handler, asked: dict[str, Any]) -> int:
    """Bytes that were sent."""
    tokenizer = load_tokenizer(MODEL)
    token_ids = tokenizer.encode(TEXT).ids[:STEPS]
    body = json.dumps({"model": "small", "max_tokens": STEPS, "stream": True, **asked}).encode()
    sent = 0

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        nonlocal sent
        sent += len(message.get("body", b""))

    async def one(service: Any) -> None:
        messages.append({"type": "http.request", "body": body, "more_body": False})
        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        response = await handler(Request(scope, receive), service)
        await response(scope, receive, send)  # type: ignore[arg-type]  # messages are plain mappings here

    async def main() -> None:
        engine = ToldEngine()
        service = service_of(engine, tokenizer, ChatTemplate.from_folder(MODEL))
        async with asyncio.TaskGroup() as streams:
            for _ in range(STREAMS):
                streams.create_task(one(service))
            while len(engine.turns) < STREAMS:
                await asyncio.sleep(0)
            for token_id in token_ids:
                for turn in engine.turns:
                    turn.say([token_id])
                for _ in range(3):  # from the engine to the client
                    await asyncio.sleep(0)
            for turn in engine.turns:
                turn.end()

    messages: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    return sent


@pytest.mark.parametrize(
    ("handler", "asked"),
    [
        (completions, {"prompt": "hi"}),
        (completions, {"prompt": "hi", **USAGE}),
        (completions, {"prompt": "hi", "stop": ["\n\n\n", "zzz"]}),
        (chat_completions, {**CHAT, **USAGE}),
    ],
    ids=["completions", "completions-usage", "completions-stop", "chat-usage"],
)
def test_streamed_tokens(benchmark: BenchmarkFixture, handler: Handler, asked: dict[str, Any]) -> None:
    assert benchmark.pedantic(stream, (handler, asked), rounds=3) > STREAMS * STEPS
    benchmark.extra_info["us_per_token"] = round(benchmark.stats.stats.min / (STREAMS * STEPS) * 1e6, 2)
