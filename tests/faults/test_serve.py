"""How a server ends: told once, told twice, without its engine, or before it began."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from app_serving import Served, assembled
from mock_serving import Answered, ask, get

from bench.core.clock import RealClock
from bench.core.errors import EngineError, InputError
from bench.core.listening import bound_socket
from bench.core.spec import MockEngineSpec
from bench.engine.mock import MockEngine
from bench.serve import answer_until_told

SECONDS = 20.0
STREAM = {"prompt": None, "pause_s": 0.02}


class Engine(MockEngine):
    """One that can be lost."""

    lost = False

    def __init__(self) -> None:
        super().__init__(MockEngineSpec(kind="mock"), clock=RealClock())

    async def end_session(self, session_id: str) -> None:
        if self.lost:
            raise EngineError("the engine's process was ended by SIGKILL")


@dataclass
class Serving:
    """A server on this process's main thread, where signals arrive."""

    served: Served
    engine: Engine
    ended: asyncio.Task[bool]

    async def ask(self, **body: Any) -> Answered:
        return await asyncio.to_thread(ask, self.served.url, **STREAM, **body)

    async def get(self, path: str) -> Answered:
        return await asyncio.to_thread(get, self.served.url, path)

    async def streaming(self, events: int) -> asyncio.Task[Answered]:
        """An answer that has begun."""
        task = asyncio.create_task(self.ask(events=events))
        async with asyncio.timeout(SECONDS):
            while not self.served.places.taken:
                await asyncio.sleep(0.01)
        return task


@asynccontextmanager
async def serving(drain_s: float = SECONDS) -> AsyncIterator[Serving]:
    listening = asyncio.Event()
    served = assembled(asyncio.get_running_loop(), listening.set, places=4)
    bound, served.url = bound_socket("127.0.0.1", 0)
    engine = Engine()
    ended = asyncio.create_task(
        answer_until_told(engine, served.places, served.app, served.http, bound, drain_s, served.told.append)
    )
    async with asyncio.timeout(SECONDS):
        await listening.wait()
        yield Serving(served, engine, ended)
        await asyncio.wait({ended})


def tell() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_told_to_end_it_lets_streams_end_and_nobody_in() -> None:
    async def main() -> None:
        async with serving() as one:
            stream = await one.streaming(events=100)
            tell()
            while (health := await one.get("/health")).status == 200:
                await asyncio.sleep(0.01)
            assert (health.status, health.json["error"]["message"]) == (503, "the server is about to end")
            assert (await one.ask()).status == 503
            assert (await one.get("/v1/models")).status == 200
            assert one.served.told == ["answers that go on: 1; ends without them after 20 s, or told again"]
            answered = await stream
            assert (answered.whole, answered.events[-1]) == (True, 99)
            assert await one.ended is False

    asyncio.run(main())


def test_streams_that_go_on_for_too_long_are_told_why_they_end() -> None:
    async def main() -> None:
        async with serving(drain_s=0.1) as one:
            stream = await one.streaming(events=100_000)
            tell()
            answered = await stream
            assert answered.whole
            assert answered.events[-1]["error"]["message"] == "the server is about to end"
            assert await one.ended is False

    asyncio.run(main())


def test_told_twice_it_ends_at_once() -> None:
    async def main() -> None:
        async with serving() as one:
            stream = await one.streaming(events=100_000)
            tell()
            await asyncio.sleep(0.05)
            tell()
            assert await one.ended is True
            assert (await stream).events[-1]["error"]["message"] == "the server is about to end"

    asyncio.run(main())


def test_silent_clients_do_not_hold_it_up() -> None:
    async def main() -> None:
        async with serving() as one:
            silent = [one.served.connect() for _ in range(200)]
            assert (await one.get("/health")).status == 200
            tell()
            assert await one.ended is False
            for connection in silent:
                connection.close()

    asyncio.run(main())


def test_without_its_engine_it_says_so_and_ends() -> None:
    async def main() -> None:
        async with serving() as one:
            stream = await one.streaming(events=80)
            one.engine.lost = True
            while (health := await one.get("/health")).status == 200:
                await asyncio.sleep(0.01)
            assert health.json["error"]["message"] == "the engine is lost"
            assert (await one.ask()).status == 503
            assert (await stream).whole
            with pytest.raises(EngineError, match="SIGKILL"):
                await one.ended

    asyncio.run(main())


def test_a_port_that_another_listens_on_meanwhile() -> None:
    async def main() -> None:
        bound, _ = bound_socket("127.0.0.1", 0)
        with socket.create_server(("127.0.0.1", bound.getsockname()[1])):
            served = assembled(asyncio.get_running_loop(), lambda: None, places=4)
            with pytest.raises(InputError, match="in use"):
                await answer_until_told(Engine(), served.places, served.app, served.http, bound, 1, served.told.append)

    asyncio.run(main())


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_want_a_key(refusal: Callable[..., str], host: str) -> None:
    line = refusal("serve", "--model", "tiny", "--host", host, "--port", 0)
    assert f"{host} lets other machines ask (allowed: 127.0.0.1 or ::1, or a key by --api-key-env)" in line


@pytest.mark.parametrize("host", ["", "no.such.host.invalid", "192.0.2.1", "a" * 70, "x y"])
def test_an_address_that_is_not_this_machines(refusal: Callable[..., str], host: str) -> None:
    assert "of this machine" in refusal("serve", "--model", "tiny", "--host", host, "--port", 0)


def test_a_port_that_is_taken(refusal: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "in use" in refusal("serve", "--model", "tiny", "--port", taken.getsockname()[1])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "no-such-model"], "no such model"),
        (["--model", "qwen3-0.6b"], "no tokenizer.json (allowed: one)"),
        (["--model", "tiny", "--name", ""], "--name"),
        (["--model", "tiny", "--name", "two\nlines"], "--name"),
        (["--model", "tiny", "--set", "max_runing=4"], "unknown key 'max_runing'"),
        (["--model", "tiny", "--set", "max_running=0"], "max_running = 0"),
        (["--model", "tiny", "--set", "max_running"], "a.b=value"),
        (["--model", "tiny", "--set", "kind=mock"], "'native'"),
        (["--model", "tiny", "--api-key-env", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE"),
        (["--model", "tiny", "--timeout", "nan"], "--timeout"),
        (["--model", "tiny", "--max-waiting", "-1"], "--max-waiting"),
        ([], "--model"),
    ],
)
def test_what_it_cannot_begin_with(refusal: Callable[..., str], arguments: list[str], told: str) -> None:
    assert told in refusal("serve", "--port", "0", *arguments)
