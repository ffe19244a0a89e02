"""Log probabilities are told with the tokens they belong to, in the form of each API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from api_asking import Call, Handler, ToldEngine, letters, run, service_of, settled

from bench.core.chat_template import ChatTemplate
from bench.core.records import TokenLogprob
from bench.native.server.chat import chat_completions
from bench.native.server.completions import completions

TOKENS = letters()
A, B = TOKENS.token_to_id("a"), TOKENS.token_to_id("b")
HALVES = TOKENS.encode("é", add_special_tokens=False).ids
COMPLETION = {"model": "small", "prompt": "a"}
CHAT = {"model": "small", "messages": [{"role": "user", "content": "a"}], "logprobs": True}
TEMPLATE = ChatTemplate(Path(), "{{ messages[0].content }}", {})


def likely(token: int) -> TokenLogprob:
    return TokenLogprob(token, -0.5, ((B, -0.25), (token, -0.5)))


def answered(handler: Handler, asked: dict[str, Any]) -> tuple[ToldEngine, Call]:
    """The answer to `asked` of an engine that says "a" and then the two halves of "é", each in a step of its own."""

    async def call() -> tuple[ToldEngine, Call]:
        engine = ToldEngine()
        made = Call(handler, service_of(engine, TOKENS, TEMPLATE), asked)
        await settled()
        for token in (A, *HALVES):
            engine.turns[0].say([token], logprobs=[likely(token)] if "logprobs" in asked else None)
            await settled()
        engine.turns[0].end()
        return engine, await made.ended()

    made: tuple[ToldEngine, Call] = run(call())
    return made


def test_a_completion_has_lists_over_its_tokens() -> None:
    engine, call = answered(completions, {**COMPLETION, "logprobs": 1})
    assert engine.turns[0].request.logprobs == 1
    [choice] = call.json["choices"]
    assert choice["text"] == "aé"
    assert choice["logprobs"] == {
        "tokens": ["a", "�", "�"],
        "token_logprobs": [-0.5, -0.5, -0.5],
        "top_logprobs": [{"b": -0.25, "a": -0.5}, {"b": -0.25, "�": -0.5}, {"b": -0.25, "�": -0.5}],
        "text_offset": [0, 1, 2],
    }


def test_tokens_are_told_by_number_where_that_is_asked() -> None:
    _, call = answered(completions, {**COMPLETION, "logprobs": 1, "return_tokens_as_token_ids": True})
    told = call.json["choices"][0]["logprobs"]
    assert told["tokens"] == [f"token_id:{token}" for token in (A, *HALVES)]
    assert told["top_logprobs"][0] == {f"token_id:{B}": -0.25, f"token_id:{A}": -0.5}
    assert told["text_offset"] == [0, 1, 2]
    _, call = answered(chat_completions, {**CHAT, "return_tokens_as_token_ids": True})
    first = call.json["choices"][0]["logprobs"]["content"][0]
    assert (first["token"], first["bytes"]) == (f"token_id:{A}", [97])


def test_in_a_stream_each_token_has_its_event() -> None:
    _, call = answered(completions, {**COMPLETION, "logprobs": 0, "stream": True})
    told = [event["choices"][0] for event in call.events[:-1]]
    assert [choice["text"] for choice in told] == ["a", "", "é", ""]
    assert [choice["logprobs"] and choice["logprobs"]["text_offset"] for choice in told] == [[0], [1], [2], None]
    assert told[0]["logprobs"]["top_logprobs"] == [{"a": -0.5}]


@pytest.mark.parametrize("most", [None, 0, 1])
def test_a_chat_has_an_object_for_each_token(most: int | None) -> None:
    engine, call = answered(chat_completions, {**CHAT, "top_logprobs": most})
    # One is asked for at least: none would be no log probabilities.
    assert engine.turns[0].request.logprobs == 1
    [choice] = call.json["choices"]
    first, half, _ = choice["logprobs"]["content"]
    top = [{"token": "b", "logprob": -0.25, "bytes": [98]}]
    assert first == {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": top if most else []}
    assert (half["token"], half["bytes"]) == ("�", ["é".encode()[0]])


def test_in_a_chats_stream_the_role_comes_without_any() -> None:
    _, call = answered(chat_completions, {**CHAT, "stream": True})
    told = [event["choices"][0] for event in call.events[:-1]]
    counts = [choice["logprobs"] and len(choice["logprobs"]["content"]) for choice in told]
    assert counts == [None, 1, 1, 1, None]


def test_nothing_is_told_that_was_not_asked() -> None:
    engine, call = answered(completions, COMPLETION)
    assert (engine.turns[0].request.logprobs, call.json["choices"][0]["logprobs"]) == (0, None)
