"""Ways for a request to end before its answer does: the client leaves or does not read, the engine fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from api_asking import Call, ToldEngine, letters, run, service_of, settled

from bench.native.server.admission import Places
from bench.native.server.completions import completions

PLAIN = {"model": "small", "prompt": "ab", "max_tokens": 500}
A = letters().token_to_id("a")


def asking(
    scenario: Callable[[ToldEngine, Call], Awaitable[None]],
    *,
    before: Callable[[ToldEngine], None] | None = None,
    **asked: Any,
) -> tuple[ToldEngine, Call]:
    """A request and its engine, after `scenario` and once nothing more happens."""

    async def within() -> tuple[ToldEngine, Call]:
        engine = ToldEngine()
        if before is not None:
            before(engine)
        service = service_of(engine)
        call = Call(completions, service, {**PLAIN, **asked})
        await settled()
        await scenario(engine, call)
        await call.ended()
        assert isinstance(service.admission, Places)
        assert service.admission.taken == 0
        return engine, call

    made: tuple[ToldEngine, Call] = run(within())
    return made


@pytest.mark.parametrize(
    ("asked", "turns"),
    [({}, 1), ({"stream": True}, 1), ({"n": 3}, 3), ({"stream": True, "prompt": ["a", "b"]}, 2)],
)
@pytest.mark.parametrize("tokens", [0, 3])
def test_what_nobody_waits_for_is_cancelled(asked: dict[str, Any], turns: int, tokens: int) -> None:
    async def scenario(engine: ToldEngine, call: Call) -> None:
        for _ in range(tokens):
            engine.turns[0].say([A])
            await settled()
        call.leave()

    engine, call = asking(scenario, **asked)
    assert [turn.cancelled for turn in engine.turns] == [True] * turns
    assert not call.over
    assert call.error is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_is_cancelled_leaves_nothing_in_the_engine(stream: bool) -> None:
    async def scenario(engine: ToldEngine, call: Call) -> None:
        engine.turns[0].say([A])
        await settled()
        call.cancel()

    engine, _ = asking(scenario, stream=stream)
    assert engine.turns[0].cancelled


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ("engine_lost: killed by signal 9 at /secret", 503, "engine_lost"),
        ("out_of_memory: a secret", 503, "out_of_memory"),
        ("not_a_number: a secret", 500, "not_a_number"),
        ("declared by a secret", 500, None),
        ("unknown_token: a secret", 400, "unknown_token"),
        ("kv_pool_exceeded: a secret", 400, "kv_pool_exceeded"),
        (None, 503, "engine_lost"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_token_is_a_status(
    error: str | None, status: int, code: str | None, stream: bool
) -> None:
    async def scenario(engine: ToldEngine, call: Call) -> None:
        engine.turns[0].end("failed" if error else "cancelled", error=error)

    engine, call = asking(scenario, stream=stream, n=2)
    assert call.error is not None
    assert (call.error.status, call.error.code) == (status, code)
    assert "secret" not in call.error.message
    assert (call.error.param == "prompt") == (status == 400)
    assert engine.turns[1].cancelled


@pytest.mark.parametrize(("bias", "blamed"), [({}, "prompt"), ({"1": 1}, "prompt"), ({"1": 1, "900": 1}, "logit_bias")])
def test_an_unknown_token_is_held_against_the_field_that_has_it(bias: dict[str, int], blamed: str) -> None:
    async def scenario(engine: ToldEngine, call: Call) -> None:
        engine.turns[0].end("failed", error="unknown_token: a secret")

    _, call = asking(scenario, prompt=[7, 800], logit_bias=bias)
    assert call.error is not None
    assert call.error.param == blamed


def test_an_engine_that_is_gone_is_told_as_that() -> None:
    async def nothing(engine: ToldEngine, call: Call) -> None: ...

    def lose(engine: ToldEngine) -> None:
        engine.lost = True

    _, call = asking(nothing, before=lose)
    assert call.error is not None
    assert (call.error.status, call.error.type) == (503, "server_error")


def test_a_failure_in_a_stream_is_its_last_event() -> None:
    async def scenario(engine: ToldEngine, call: Call) -> None:
        engine.turns[0].say([A])
        await settled()
        engine.turns[0].end("failed", error="engine_lost: a secret")

    _, call = asking(scenario, stream=True)
    said, error = call.events
    assert said["choices"][0]["text"] == "a"
    assert error["error"] == {
        "message": "the engine is lost",
        "type": "server_error",
        "param": None,
        "code": "engine_lost",
    }
    assert call.over


def test_a_client_that_does_not_read_gets_fewer_events_with_more_text() -> None:
    async def scenario(engine: ToldEngine, call: Call) -> None:
        engine.turns[0].say([A])
        await settled()
        call.may_send.clear()
        for _ in range(400):
            engine.turns[0].say([A])
            await settled()
        call.may_send.set()
        await settled()
        engine.turns[0].say([A])
        await settled()
        engine.turns[0].end()

    _, call = asking(scenario, stream=True)
    texts = [event["choices"][0]["text"] for event in call.events if event is not True]
    # One event was rendered and waited to be sent while the others came.
    assert texts == ["a", "a", "a" * 399, "a", ""]


def test_one_of_several_goes_on_when_another_has_ended() -> None:
    async def scenario(engine: ToldEngine, call: Call) -> None:
        first, second = engine.turns
        first.say([A])
        first.end()
        await settled()
        second.say([A])
        second.say([letters().token_to_id("x")])
        await settled()
        assert second.cancelled
        second.say([A])

    _, call = asking(scenario, stream=True, n=2, stop="x")
    ends = [
        (choice["index"], choice["finish_reason"])
        for event in call.events[:-1]
        for choice in event["choices"]
        if choice["finish_reason"]
    ]
    assert ends == [(0, "length"), (1, "stop")]
