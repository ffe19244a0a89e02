"""Requests are sent again only where the suite asks for it, as the server asks, and that is counted."""

from __future__ import annotations

import asyncio

import pytest
from endpoint_asking import (
    EVENT_STREAM,
    Answer,
    Heard,
    answering,
    ask,
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

from bench.engine.endpoint import EndpointEngine

WHOLE = chunked(stream("a", "b", "c", "d"))


def busy(*headers: str, status: int = 429) -> bytes:
    return response(b"busy", *headers, status=status)


def tried(*answers: Answer | bytes, retries: int = 2, **spec: object) -> tuple[Heard, EndpointEngine]:
    async def main() -> tuple[Heard, EndpointEngine]:
        async with answering(*answers) as server, started(server.url, retries=retries, **spec) as engine:
            return await ask(engine, asked()), engine

    return run(main())


def test_nothing_is_sent_again_unasked() -> None:
    heard, engine = tried(busy(), WHOLE, retries=0)
    assert (heard.end.error, heard.end.retries) == ("http_429: busy", 0)
    assert engine.describe()["retries"] == {}


def test_a_refusal_is_tried_again_when_the_server_says() -> None:
    heard, engine = tried(busy("retry-after: 0"), busy("Retry-After: 0", status=503), WHOLE)
    assert (heard.tokens, heard.end.retries, heard.end.reason) == (4, 2, "length")
    assert engine.describe()["retries"] == {"http_429": 1, "http_503": 1}


def test_no_more_often_than_asked() -> None:
    heard, _ = tried(busy("retry-after: 0"))
    assert (heard.end.error, heard.end.retries) == ("http_429: Retry-After 0 s; busy", 2)


def test_the_wait_is_the_turns_and_leaves_room_for_an_answer() -> None:
    heard, _ = tried(busy("retry-after: 3600"), WHOLE, timeout_s=5)
    assert (heard.end.error, heard.end.retries) == ("http_429: Retry-After 3600 s; busy", 0)


def test_a_wait_beyond_all_numbers_is_a_refusal() -> None:
    heard, _ = tried(busy(f"retry-after: {'9' * 400}"), WHOLE)
    assert (heard.end.error, heard.end.retries) == ("http_429: Retry-After inf s; busy", 0)


@pytest.mark.parametrize("status", [500, 401])
def test_other_failures_are_final(status: int) -> None:
    assert tried(busy(status=status), WHOLE)[0].end.retries == 0


def test_a_reset_is_tried_again_while_no_token_had_come() -> None:
    # The first meets a kept connection, which costs no try.
    resets = sends(then="reset")
    heard, engine = tried(resets, resets, WHOLE, retry_on=("reset",))
    assert (heard.tokens, heard.end.retries, heard.end.notes) == (4, 1, ("reconnect",))
    assert engine.describe()["retries"] == {"reset": 1}
    beginning = head(EVENT_STREAM) + token("a") + token("b")
    heard, _ = tried(sends(beginning, pause_s=0.02, then="reset"), WHOLE, retry_on=("reset",))
    assert (heard.tokens, heard.end.retries) == (2, 0)


def test_a_turn_that_waits_for_its_next_try_can_be_cancelled() -> None:
    async def main() -> Heard:
        async with answering(busy("retry-after: 60")) as server, started(server.url, retries=1) as engine:
            heard = Heard()
            await engine.submit(engine.prepare(asked()), heard)
            while not engine.describe()["retries"]:
                await asyncio.sleep(0.001)
            await engine.stop()
            return heard

    heard = run(main())
    assert (heard.end.reason, heard.end.retries) == ("cancelled", 1)
