"""However an answer's bytes come in packets, the tokens and their text are the same and their stamps never go back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from endpoint_asking import (
    DONE,
    EVENT_STREAM,
    SECONDS,
    Heard,
    asked,
    chunked,
    endpoint,
    event,
    head,
    run,
    stream,
    token,
    usage,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.sessions import Check
from bench.engine.http.connection import Connection
from bench.engine.http.exchange import Exchange
from bench.engine.http.turn import HttpTurn

BODY = b": ping\n\n" + stream("one", " two", "<think>", "hm", "</think>", " 0\\r\\n\\r\\n", " ü") + b"\n"
CHUNKED = chunked(BODY, size=53)
SIZED = head(EVENT_STREAM, f"content-length: {len(BODY)}") + BODY
CLOSED = head(EVENT_STREAM) + BODY
WORDS = "one two<think>hm</think> 0\\r\\n\\r\\n ü"


ODD = (
    {"choices": [{"text": "a", "finish_reason": "stop"}]},
    {"choices": [{"delta": {"content": "<think", "tool_calls": [{}]}}], "usage": {"completion_tokens": 2**31 - 1}},
    {"choices": [{"delta": None, "message": {"content": "a"}}], "usage": {"completion_tokens": 0}},
    {"usage": {"completion_tokens": -1}},
    {"usage": {"completion_tokens": 2**70}},
    {"choices": [{"text": "\ud800"}]},
    {"error": {}},
    None,
)
"""Events that a server might send."""


class Wire(asyncio.Transport):
    """A transport that carries nothing."""

    closed = False

    def write(self, data: object) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


class Owner:
    """Keeps what it is told."""

    kept = 0

    def freed(self, connection: Connection) -> None:
        self.kept += 1

    def lost(self, connection: Connection, exchange: Exchange | None) -> None:
        if exchange is not None:
            exchange.ended()


async def received(packets: Sequence[bytes], *, closes: bool) -> tuple[Heard, int]:
    """What a turn hears of an answer in `packets`, each stamped one nanosecond after the one before."""
    times = iter(range(1, 10_000))
    owner, heard, engine = Owner(), Heard(), endpoint("http://127.0.0.1:1")
    connection = Connection(lambda: next(times), owner, stall_ns=10**12)
    connection.connection_made(Wire())
    connection.send(HttpTurn(asked(9, pinned=False, check=Check("exact", "")), heard, engine, deadline_ns=10**12))
    for packet in packets:
        connection.data_received(packet)
    if closes:
        connection.connection_lost(None)
    async with asyncio.timeout(SECONDS):
        await heard.ended
    return heard, owner.kept


@pytest.mark.parametrize("message", [CHUNKED, SIZED, CLOSED])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_cut_gives_the_same_answer(message: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(1, len(message) - 1), max_size=40))
    places = [0, *sorted(cuts), len(message)]
    packets = [message[begin:end] for begin, end in pairwise(places)]
    heard, kept = run(received(packets, closes=message is CLOSED))
    assert heard.end.error is None
    assert heard.text == WORDS
    assert (heard.tokens, heard.tokens_of("thinking")) == (7, 3)
    stamps = [chunk.t_ns for chunk in heard.chunks]
    assert stamps == sorted(stamps)
    assert heard.end.t_ns >= stamps[-1]
    assert kept == (message is not CLOSED)


def test_one_byte_at_a_time() -> None:
    for message in (CHUNKED, SIZED, CLOSED):
        heard, _ = run(received([message[at : at + 1] for at in range(len(message))], closes=message is CLOSED))
        assert heard.text == WORDS


@settings(max_examples=150, deadline=None)
@given(
    opening=st.sampled_from([b"", head(EVENT_STREAM), head("content-type: application/json"), head(status=500)]),
    pieces=st.lists(
        st.one_of(st.binary(max_size=60), st.sampled_from([*map(event, ODD), b"data: ", b"\n\n", b"{" * 5000, DONE])),
        max_size=8,
    ),
)
def test_any_bytes_come_to_an_end(opening: bytes, pieces: list[bytes]) -> None:
    heard, _ = run(received([opening, *pieces], closes=True))
    assert heard.end.reason != "failed" or heard.end.error


def test_an_event_has_the_stamp_of_the_packet_that_completes_it() -> None:
    first, second = stream("a", "b", told=None).split(b"\n\n")[:2]
    body = [head(EVENT_STREAM), first[:9], first[9:20], first[20:], b"\n", b"\n" + second + b"\n\n" + second, b"\n\n"]
    heard, _ = run(received([*body, b"data: [DONE]\n\n"], closes=True))
    # The request has stamp 1 and the head 2.
    assert [(chunk.t_ns, chunk.n_tokens) for chunk in heard.chunks] == [(7, 2), (8, 1)]


def counted(text: str, reached: int) -> bytes:
    """An event that tells how many tokens the answer has with it."""
    return event({"choices": [{"text": text}], "usage": {"completion_tokens": reached}})


def test_a_server_that_counts_with_each_event_is_taken_at_its_word() -> None:
    events = [counted("a long text of one token", 1), counted("b", 4), counted("", 5), counted("c", 6)]
    heard, _ = run(received([head(EVENT_STREAM), *events, usage(6) + DONE], closes=True))
    assert [chunk.n_tokens for chunk in heard.chunks] == [1, 3, 1, 1]
    assert heard.end.notes == ("counted_by_usage",)


def test_a_count_that_comes_only_with_the_last_event_is_the_whole() -> None:
    last = {"choices": [{"text": "", "finish_reason": "stop"}], "usage": {"completion_tokens": 6}}
    heard, _ = run(received([head(EVENT_STREAM), token("a"), token("aaaaa"), event(last) + DONE], closes=True))
    # One for each event, and of the three that no event stands for as many as the length of each text says.
    assert [chunk.n_tokens for chunk in heard.chunks] == [2, 3, 1]
