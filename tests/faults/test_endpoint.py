"""Whatever a server does wrong is a failure of its own kind or a note, and always an end."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from endpoint_asking import (
    DONE,
    EVENT_STREAM,
    Answer,
    Heard,
    answering,
    ask,
    ask_all,
    asked,
    chunked,
    endpoint,
    event,
    head,
    response,
    run,
    sends,
    started,
    stream,
    token,
)
from mock_serving import AT_ONCE, serving

from bench.core.errors import EngineError, InputError
from bench.engine.mock_server.faults import MEANING, parse_rule
from bench.engine.mock_server.settings import MockServerSettings

WHOLE = chunked(stream("a", "b", "c", "d"))
FAILS = {
    "reset": "reset: after 0 bytes of an answer",
    "reset:at=3": "reset: after ",
    "401": "http_401: the key is wrong",
    "429": "http_429: Retry-After 1 s; too many requests",
    "500": "http_500: the mock server was told to fail",
    "503": "http_503: Retry-After 1 s; overloaded",
    "garbage": "garbage: not HTTP: ",
    "garbage:at=3": "garbage: not an answer of the API: ",
    "wrong_content_length": "truncated: closed after ",
    "stall": "stalled: 0.2 s without a byte, after ",
    "stall:at=3": "stalled: 0.2 s without a byte, after ",
    "truncated": "truncated: closed after ",
    "api_error": "api_error: the mock server was told to fail here",
    "endless": "too_long: ",
    "other_model": "other_model: asked for mock, answered by another",
}
"""How each fault of the mock server fails a turn."""
NOTED = {
    "slow_head": (),
    "coalesce": (),
    "split": (),
    "no_usage": ("no_usage",),
    "short": ("fewer_tokens",),
    "no_done": ("no_done",),
}
"""What each of the others leaves, in an answer that is whole."""
NO_TOKENS = {"reset", "401", "429", "500", "503", "garbage", "stall", "wrong_content_length"}


def meets(fault: str, **spec: Any) -> list[Heard]:
    """Turns of 8 tokens whose server has a fault: three together, so that none can hang behind another."""
    settings = MockServerSettings(**AT_ONCE, faults=(parse_rule(fault, "--fault"),))

    async def main(url: str) -> list[Heard]:
        async with started(url, stall_timeout_s=0.2, timeout_s=10, **spec) as engine:
            heard = await ask_all(engine, [asked(8)] * 3)
            assert engine.counters().running == 0
            return heard

    with serving(settings) as url:
        return run(main(url))


def test_every_fault_of_the_mock_server_is_met() -> None:
    assert {fault.partition(":")[0] for fault in FAILS} | set(NOTED) == set(MEANING) - {"refuse"}


@pytest.mark.parametrize("api", ["completions", "chat"])
@pytest.mark.parametrize("fault", FAILS)
def test_a_fault_that_fails_turns(fault: str, api: str) -> None:
    for heard in meets(fault, api=api):
        assert heard.end.reason == "failed"
        assert str(heard.end.error).startswith(FAILS[fault])
        assert (heard.tokens == 0) == (fault in NO_TOKENS)


@pytest.mark.parametrize("api", ["completions", "chat"])
@pytest.mark.parametrize("fault", NOTED)
def test_a_fault_that_leaves_a_note(fault: str, api: str) -> None:
    for heard in meets(fault, api=api):
        assert heard.end.reason in ("stop", "length")
        assert heard.end.notes == NOTED[fault]
        assert heard.tokens == (4 if fault == "short" else 8)


def failed(answer: Answer | bytes, **spec: Any) -> str:
    """Why a turn failed that was answered so."""

    async def main() -> str:
        async with answering(answer) as server, started(server.url, **spec) as engine:
            return str((await ask(engine, asked())).end.error)

    return run(main())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (response(b"<p>no</p>", "content-type: text/html"), "garbage: content of type text/html"),
        (response(b"hello", EVENT_STREAM), "garbage: 5 bytes without an event of the API"),
        (response(b"{", "content-type: application/json"), "garbage: not an answer of the API: "),
        (response(b"{}", "content-type: application/json"), "garbage: an answer without choices"),
        (chunked(event([1])), "garbage: not an answer of the API: "),
        (chunked(event({"choices": [{"text": 7}]})), "garbage: not an answer of the API: "),
        (chunked(b"data: \xff\xfe\n\n"), "garbage: not an answer of the API: "),
        (chunked(token("a")), "truncated: no end after 1 events"),
        (chunked(token("", finish_reason="error") + DONE), "api_error: "),
        (response(b"", status=204), "http_204"),
        (chunked(stream("a", told=2**31 - 1)), "too_long: 2147483647 tokens in "),
        (head("upgrade: other", "connection: upgrade", status=101), "http_101"),
        (chunked(b'data: {"x": ' + b"[" * 100_000 + b"\n\n"), "garbage: not an answer of the API: "),
        (response(b"", "location: /other", status=307), "http_307: moved to /other"),
        (response(b"\x1f\x8b", EVENT_STREAM, "content-encoding: gzip"), "garbage: content encoded as gzip"),
        (sends(head(status=100), then="close"), "truncated: closed after "),
        (response(b'{"detail": "no such path"}', status=404), "http_404: no such path"),
        (response(b"busy", "retry-after: Wed, 21 Oct 2015 07:28:00 GMT", status=429), "http_429: busy"),
        (response(b"x" * 1000, status=500), "http_500: xxx"),
        (sends(response(b"busy " * 9, status=503)[:-10], then="close"), "http_503: busy busy"),
        (sends(head(EVENT_STREAM)[:30], then="close"), "truncated: closed after 30 bytes of an answer"),
        (sends(head(EVENT_STREAM, "transfer-encoding: chunked") + b"zz\r\n"), "garbage: not HTTP: "),
        (sends(head("x: " + "y" * 10**6)), "garbage: not HTTP: a head of more than 262144 bytes"),
    ],
)
def test_what_is_no_answer(answer: Answer | bytes, error: str) -> None:
    told = failed(answer)
    assert told.startswith(error)
    assert len(told) < 300


def test_comments_alone_are_no_answer_though_they_never_stop() -> None:
    async def pings(writer: asyncio.StreamWriter) -> None:
        writer.write(head(EVENT_STREAM))
        while True:
            writer.write(b": ping\n\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    assert failed(pings, timeout_s=0.3, stall_timeout_s=10).startswith("timeout: after ")


@pytest.mark.parametrize("line", [b": x\n", b"x"])
def test_bytes_without_end_are_refused(line: bytes) -> None:
    async def floods(writer: asyncio.StreamWriter) -> None:
        writer.write(head(EVENT_STREAM))
        while True:
            writer.write(line * 16_384)
            await writer.drain()

    assert failed(floods).startswith("too_long: 0 tokens in ")


def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EngineError, match=rf"^{url}/v1 does not answer: refused: nothing listens there$"):
            run(endpoint(url).start())


def test_a_server_that_goes_away_is_refused_from_then_on() -> None:
    async def main() -> None:
        async with answering(sends(WHOLE, then="close")) as server:
            engine = endpoint(server.url)
            await engine.start()
        heard = await ask_all(engine, [asked()] * 3)
        await engine.stop()
        # The first has the connection that was opened before.
        assert [one.end.error for one in heard] == [None, *["refused: nothing listens there"] * 2]

    run(main())


def test_a_server_that_takes_no_connection_times_out() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        # The kernel lets one connection wait and answers no other.
        with socket.create_connection(address):
            engine = endpoint(f"http://127.0.0.1:{address[1]}", connect_timeout_s=0.1)
            with pytest.raises(EngineError, match=r"does not answer: connect_timeout: no answer in 0\.1 s"):
                run(engine.start())


def test_a_name_that_stands_for_no_address() -> None:
    with pytest.raises(EngineError, match="does not answer: unresolved: "):
        run(endpoint("http://nowhere.invalid").start())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (response(b'{"detail": "no such path"}', status=404), r": http://\S+ answers 404: no such path"),
        (response(b"", "location: https://a.b/v1", status=301), r": http://\S+ answers 301: moved to https://a\.b/v1"),
        (response(b"<html>", "content-type: text/html"), ": JSON is malformed: "),
        (response(b'"a text"'), ": Expected `object | array`, got `str`"),
        (response(b'{"data": []}'), r" \(allowed: "),
    ],
)
def test_a_server_without_a_list_of_models_needs_the_name(answer: bytes, why: str) -> None:
    async def main(**spec: Any) -> str:
        async def none(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await sends(answer)(writer)

        async with await asyncio.start_server(none, "127.0.0.1", 0) as server:
            engine = endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", **spec)
            await engine.start()
            await engine.stop()
            return str(engine.describe()["model"])

    assert run(main(served_model="mine")) == "mine"
    with pytest.raises(InputError, match=rf"^engine\.served_model: the server lists no model{why}"):
        run(main())
