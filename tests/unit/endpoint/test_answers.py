"""What counts as a token, of which kind, and what is told of an answer beside its tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from endpoint_asking import (
    DONE,
    Heard,
    answering,
    ask,
    asked,
    chunked,
    delta,
    event,
    response,
    run,
    started,
    stream,
    token,
    usage,
)

from bench.core.sessions import Check, TurnRequest

CHECK = Check("exact", "whatever")


def answered(body: bytes, request: TurnRequest | None = None, **spec: Any) -> Heard:
    async def main() -> Heard:
        async with answering(body) as server, started(server.url, **spec) as engine:
            return await ask(engine, request or asked(pinned=False, check=CHECK))

    return run(main())


def test_a_role_a_usage_a_comment_and_a_name_of_an_event_are_no_tokens() -> None:
    body = delta(role="assistant", content="") + b": ping\n\nevent: x\n\n" + delta(content="hi") + usage(1) + DONE
    heard = answered(chunked(body), api="chat")
    assert [chunk.n_tokens for chunk in heard.chunks] == [1]
    assert heard.text == "hi"
    assert heard.end.notes == ()


def test_the_usage_tells_prompt_and_cached_tokens() -> None:
    for cached in ({"prompt_tokens_details": {"cached_tokens": 8}}, {"prompt_cache_hit_tokens": 8}):
        end = answered(chunked(token("a") + usage(1, prompt_tokens=9, **cached) + DONE)).end
        assert (end.prompt_tokens, end.cached_tokens) == (9, 8)
    assert answered(chunked(stream("a"))).end.cached_tokens is None


def test_a_usage_may_come_without_choices_in_any_form() -> None:
    told = event({"choices": None, "usage": {"prompt_tokens": 3, "completion_tokens": 1}})
    assert answered(chunked(token("a", finish_reason="stop") + told + DONE)).end.notes == ()


@pytest.mark.parametrize(
    ("told", "tokens", "notes"), [(3, 3, ()), (5, 5, ("counted_by_usage",)), (None, 3, ("no_usage",))]
)
def test_tokens_are_as_many_as_the_usage_says(told: int | None, tokens: int, notes: tuple[str, ...]) -> None:
    heard = answered(chunked(stream("a", "b", "c", told=told)))
    assert heard.tokens == tokens
    assert heard.end.notes == notes


@pytest.mark.parametrize(("said", "reason"), [("length", "length"), ("stop", "stop"), ("tool_calls", "stop")])
def test_the_reason_is_the_servers(said: str, reason: str) -> None:
    assert answered(chunked(token("a", finish_reason=said) + DONE)).end.reason == reason


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thinking_in_a_field_of_its_own(field: str) -> None:
    body = delta(**{field: "hm"}) + delta(**{field: " so"}) + delta(content="yes") + usage(3) + DONE
    heard = answered(chunked(body), api="chat")
    assert (heard.tokens_of("thinking"), heard.tokens_of("answer")) == (2, 1)


def test_thinking_between_tags_that_are_cut() -> None:
    words = ("<thi", "nk>", "hm", "</th", "ink>", "yes", " no")
    heard = answered(chunked(stream(*words)))
    assert heard.tokens_of("thinking") == 5
    assert "".join(chunk.text or "" for chunk in heard.chunks if chunk.kind == "answer") == "yes no"


def test_a_closing_tag_that_nothing_opened_makes_thinking_of_what_came_before() -> None:
    heard = answered(chunked(stream("hm", " so", "</think>", "yes")))
    assert (heard.tokens_of("thinking"), heard.tokens_of("answer")) == (3, 1)


def test_thinking_that_is_counted_and_not_shown_comes_with_the_first_token() -> None:
    told = usage(12, completion_tokens_details={"reasoning_tokens": 10})
    heard = answered(chunked(token("yes") + token(" no") + told + DONE))
    assert (heard.tokens_of("thinking"), heard.tokens_of("answer")) == (10, 2)
    assert heard.chunks[0].kind == "thinking"
    assert heard.end.notes == ("counted_by_usage", "hidden_thinking")
    shown = answered(chunked(token("<think>hm</think>") + token("yes") + told + DONE))
    assert shown.end.notes == ("counted_by_usage",)


def test_a_prompt_that_opened_the_thinking() -> None:
    request = asked(pinned=False, text="why?<think>\n")
    heard = answered(chunked(stream("hm", "</think>", "yes")), request, prompt="text")
    assert (heard.tokens_of("thinking"), heard.tokens_of("answer")) == (2, 1)


def test_a_tool_call_is_answer_and_reads_as_json() -> None:
    calls = [
        delta(tool_calls=[{"index": 0, "function": {"name": "look", "arguments": ""}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"at"'}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}]),
        delta(finish_reason="tool_calls"),
    ]
    heard = answered(chunked(b"".join(calls) + usage(3) + DONE), api="chat")
    assert json.loads(heard.text) == {"name": "look", "arguments": {"at": 1}}
    assert heard.tokens == 3


def test_text_is_kept_only_for_a_turn_that_is_checked() -> None:
    assert answered(chunked(stream("a")), asked(pinned=False)).chunks[0].text is None


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_server_that_does_not_stream(api: str) -> None:
    text = {"text": "a b c"} if api == "completions" else {"message": {"role": "assistant", "content": "a b c"}}
    document = {"choices": [{**text, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 3}}
    heard = answered(response(json.dumps(document).encode(), "content-type: application/json"), api=api)
    assert [chunk.n_tokens for chunk in heard.chunks] == [3]
    assert heard.end.notes[0] == "not_streamed"
    assert heard.end.reason == "stop"


def test_a_pinned_answer_of_another_length_is_noted() -> None:
    assert answered(chunked(stream("a", "b")), asked(3)).end.notes == ("fewer_tokens",)
    assert answered(chunked(stream("a", "b")), asked(1)).end.notes == ("more_tokens",)


def test_an_end_without_done_is_noted_where_the_answer_said_that_it_ends() -> None:
    assert answered(chunked(token("a", finish_reason="stop") + usage(1))).end.notes == ("no_done",)
    assert str(answered(chunked(token("a") + usage(1))).end.error).startswith("truncated: no end after 1 events")


@pytest.mark.parametrize("error", [{"error": {"message": "out of memory", "code": 500}}, {"error": "out of memory"}])
def test_an_error_within_a_stream_fails_the_turn_and_keeps_its_tokens(error: Any) -> None:
    heard = answered(chunked(token("a") + event(error) + DONE))
    assert (heard.end.reason, heard.end.error) == ("failed", "api_error: out of memory")
    assert heard.tokens == 1


@pytest.mark.parametrize("fields", [["thoughts"], ["reasoning", "thoughts"]])
def test_thinking_is_read_from_the_fields_that_a_server_has_for_it(fields: list[str]) -> None:
    body = delta(thoughts="why", reasoning_content="no") + delta("stop", content="so") + usage(2) + DONE
    heard = answered(chunked(body, size=16), api="chat", reasoning_fields=fields)
    assert heard.text == "whyso"
    assert heard.tokens_of("thinking") == 1
