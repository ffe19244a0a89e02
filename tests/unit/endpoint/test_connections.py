"""Connections are opened where none is free, kept where the server keeps them, and never in each other's way."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace

import pytest
from endpoint_asking import (
    DONE,
    EVENT_STREAM,
    Heard,
    answering,
    ask,
    ask_all,
    asked,
    chunked,
    head,
    response,
    run,
    sends,
    started,
    stream,
    token,
)

WHOLE = stream("a", "b", "c", "d")


@pytest.mark.parametrize("on_uvloop", [True, False])
@pytest.mark.parametrize("answer", [chunked(WHOLE), chunked(WHOLE, size=7), response(WHOLE, EVENT_STREAM)])
def test_a_connection_is_kept(answer: bytes, on_uvloop: bool) -> None:
    async def main() -> None:
        async with answering(answer) as server, started(server.url) as engine:
            for _ in range(5):
                assert (await ask(engine, asked())).tokens == 4
            assert server.connections == 1
            assert engine.describe()["connections"] == {"opened": 1, "reused": 5, "reconnected": 0}

    run(main(), on_uvloop=on_uvloop)


@pytest.mark.parametrize("on_uvloop", [True, False])
@pytest.mark.parametrize(
    "answer",
    [
        head(EVENT_STREAM) + WHOLE,
        response(WHOLE, EVENT_STREAM, "connection: close"),
        response(WHOLE, EVENT_STREAM).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_a_connection_that_the_server_closes_is_not_used_again(answer: bytes, on_uvloop: bool) -> None:
    async def main() -> None:
        async with answering(sends(answer, then="close")) as server, started(server.url) as engine:
            for _ in range(3):
                assert (await ask(engine, asked())).tokens == 4
            assert server.connections == 3
            assert engine.describe()["connections"]["reconnected"] == 0

    run(main(), on_uvloop=on_uvloop)


@pytest.mark.parametrize("on_uvloop", [True, False])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_kept_connection_that_the_server_had_closed_is_no_failure(how: str, on_uvloop: bool) -> None:
    async def main() -> None:
        async with (
            answering(chunked(WHOLE), sends(then=how), chunked(WHOLE)) as server,
            started(server.url) as engine,
        ):
            assert (await ask(engine, asked())).end.notes == ()
            again = await ask(engine, asked())
            assert (again.tokens, again.end.notes, again.end.retries) == (4, ("reconnect",), 0)
            assert engine.describe()["connections"]["reconnected"] == 1

    run(main(), on_uvloop=on_uvloop)


def test_a_server_that_closes_every_connection_fails_the_turn() -> None:
    async def main() -> Heard:
        async with answering(sends(then="close")) as server, started(server.url) as engine:
            return await ask(engine, asked())

    assert run(main()).end.error == "reset: after 0 bytes of an answer"


@pytest.mark.parametrize("on_uvloop", [True, False])
def test_a_request_larger_than_any_buffer(on_uvloop: bool) -> None:
    prompt = tuple(range(300_000))

    async def main() -> None:
        async with answering(chunked(WHOLE)) as server, started(server.url) as engine:
            heard = await ask_all(engine, [replace(asked(), prompt_ids=prompt)] * 3)
            assert [one.tokens for one in heard] == [4] * 3
            assert all(body["prompt"] == list(prompt) for _, body in server.requests)

    run(main(), on_uvloop=on_uvloop)


def test_a_turn_does_not_wait_for_another() -> None:
    release = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await sends(chunked(WHOLE))(writer)

    async def main() -> None:
        async with answering(slow, chunked(WHOLE)) as server, started(server.url) as engine:
            first = asyncio.create_task(ask(engine, asked()))
            while not server.requests:
                await asyncio.sleep(0.001)
            await ask_all(engine, [asked()] * 8)
            assert not first.done()
            release.set()
            assert (await first).tokens == 4
            assert server.connections == 9

    run(main())


def test_interim_answers_are_passed_over() -> None:
    async def main() -> None:
        async with (
            answering(head(status=100) + head(status=103) + chunked(WHOLE)) as server,
            started(server.url) as engine,
        ):
            for _ in range(2):
                assert (await ask(engine, asked())).tokens == 4
            assert server.connections == 1

    run(main())


@pytest.mark.parametrize("more", [b"more", response(b"data: {}\n\n", EVENT_STREAM, status=500), chunked(WHOLE)])
def test_what_follows_an_answer_spoils_its_connection_and_not_the_answer(more: bytes) -> None:
    async def main() -> None:
        async with answering(chunked(WHOLE) + more) as server, started(server.url) as engine:
            for _ in range(2):
                heard = await ask(engine, asked())
                assert (heard.end.error, heard.tokens) == (None, 4)
            assert server.connections == 2

    run(main())


def test_a_cancelled_turn_tells_what_it_heard_and_closes_its_connection() -> None:
    async def main() -> None:
        beginning = head(EVENT_STREAM) + token("a") + token("b")
        async with answering(sends(beginning), chunked(WHOLE)) as server, started(server.url) as engine:
            heard = Heard()
            handle = await engine.submit(engine.prepare(asked()), heard)
            while not server.requests:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            assert engine.counters().running == 1
            await engine.cancel(handle)
            assert (heard.end.reason, heard.tokens) == ("cancelled", 2)
            await engine.cancel(handle)
            assert engine.counters().running == 0
            assert (await ask(engine, asked())).tokens == 4
            assert server.connections == 2

    run(main())


def test_turns_still_open_when_the_engine_stops_are_cancelled() -> None:
    async def main() -> None:
        heard = [Heard() for _ in range(3)]
        async with answering(sends(DONE[:0])) as server, started(server.url) as engine:
            for one in heard:
                await engine.submit(engine.prepare(asked()), one)
            await engine.stop()
        assert [one.end.reason for one in heard] == ["cancelled"] * 3

    run(main())


def test_a_long_answer_is_read_while_it_arrives() -> None:
    words = [f" w{index}" for index in range(5000)]

    async def main() -> Heard:
        body = chunked(stream(*words), size=4096)
        pieces = [body[at : at + 20_000] for at in range(0, len(body), 20_000)]
        async with answering(sends(*pieces)) as server, started(server.url) as engine:
            return await ask(engine, asked(len(words)))

    heard = run(main())
    assert heard.tokens == len(words)
    assert heard.end.notes == ()


def test_a_request_leaves_nothing_for_the_collector() -> None:
    async def main() -> int:
        async with answering(chunked(WHOLE)) as server, started(server.url) as engine:
            await ask(engine, asked())
            gc.collect()
            gc.disable()
            try:
                for _ in range(100):
                    await ask(engine, asked())
                return gc.collect()
            finally:
                gc.enable()

    assert run(main()) < 100
