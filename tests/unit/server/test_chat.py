"""/v1/chat/completions: messages go through the model's template, and thinking is told apart from the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from api_asking import END, HARMONY, Call, ToldEngine, letters, refused, run, service_of

from bench.core.chat_template import ChatTemplate
from bench.core.records import TokenKind
from bench.core.thinking import HARMONY_END
from bench.native.server.chat import chat_completions

TAGS = letters("<think>", "</think>")
CHANNELS = letters(*HARMONY, HARMONY_END)
SOURCE = """
{%- for message in messages %}{{ message.role }}:{{ message.content }};{% endfor -%}
{%- if messages[0].content == 'forbidden' %}{{ raise_exception('secret') }}{% endif -%}
{{ reasoning_effort or '' }}{% if enable_thinking is defined %}{{ enable_thinking }}{% endif %}"""
TEMPLATE = ChatTemplate(Path(), SOURCE, {})
HELLO = {"model": "small", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 99}


def answered(engine: ToldEngine, tokenizer: Any = TAGS, **asked: Any) -> Call:
    async def call() -> Call:
        service = service_of(engine, tokenizer, TEMPLATE)
        return await Call(chat_completions, service, {**HELLO, **asked}).ended()

    made: Call = run(call())
    assert made.over
    return made


def says(tokenizer: Any, *runs: tuple[TokenKind, str]) -> ToldEngine:
    """An engine that says these runs, a token a step."""
    script: list[tuple[TokenKind, Sequence[int]]] = []
    for kind, text in runs:
        script += [(kind, [token_id]) for token_id in tokenizer.encode(text, add_special_tokens=False).ids]
    return ToldEngine(lambda _: script)


def prompt_of(engine: ToldEngine) -> str:
    return str(TAGS.decode(list(engine.turns[-1].request.prompt_ids)))


THOUGHT = (("thinking", "<think>\nhm é</think>"), ("answer", "\n\nyes" + END))


def test_a_whole_answer_has_thinking_and_content_without_the_marks() -> None:
    call = answered(says(TAGS, *THOUGHT))
    [choice] = call.json["choices"]
    assert choice["message"] == {"role": "assistant", "content": "\n\nyes", "reasoning_content": "\nhm é"}
    assert (choice["finish_reason"], call.json["object"]) == ("stop", "chat.completion")
    # Six letters of thinking in seven bytes, and its two marks; five letters and the end.
    usage = call.json["usage"]
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 8}
    assert usage["completion_tokens"] == 14


def test_a_stream_begins_with_the_role_and_goes_on_in_deltas_by_kind() -> None:
    *events, done = answered(says(TAGS, *THOUGHT), stream=True).events
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[1:6] == [{"reasoning_content": letter} for letter in "\nhm é"]
    assert deltas[6:11] == [{"content": letter} for letter in "\n\nyes"]
    assert (deltas[11:], done) == ([{}], True)
    assert [event["choices"][0]["finish_reason"] for event in events[-2:]] == [None, "stop"]
    assert {event["object"] for event in events} == {"chat.completion.chunk"}


def test_usage_that_is_told_all_along_says_of_marks_that_they_are_thinking() -> None:
    told = {"stream": True, "stream_options": {"continuous_usage_stats": True}}
    *events, _ = answered(says(TAGS, *THOUGHT), **told).events
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[1] == {"reasoning_content": ""}
    # Half of a letter, the end of the thinking, and that of the answer.
    assert [place for place, delta in enumerate(deltas) if "" in delta.values()] == [0, 1, 6, 8, 14]
    assert (deltas[8], deltas[14]) == ({"reasoning_content": ""}, {"content": ""})
    counts = [event["usage"]["completion_tokens_details"]["reasoning_tokens"] for event in events]
    assert counts == [1, 1, 2, 3, 4, 5, 6, 7, 8, *[8] * 7]


def test_a_model_that_does_not_think_has_no_thinking() -> None:
    message = answered(says(TAGS, ("answer", "yes"))).json["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "yes", "reasoning_content": None}


def test_headers_of_messages_in_harmony_are_told_to_nobody() -> None:
    engine = says(
        CHANNELS,
        ("thinking", "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"),
        ("answer", "yes" + END),
    )
    message = answered(engine, CHANNELS).json["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm", "yes")


def test_where_eos_is_ignored_marks_are_text() -> None:
    engine = says(TAGS, ("answer", "<think>a</think>b"))
    message = answered(engine, ignore_eos=True).json["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("<think>a</think>b", None)


def test_stop_strings_are_looked_for_behind_the_thinking() -> None:
    engine = says(TAGS, ("thinking", "<think>a stop b</think>"), ("answer", "a st</think>op b"))
    message = answered(engine, stop=" st").json["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("a stop b", "a")


def test_half_a_character_at_the_end_of_thinking_stays_there() -> None:
    half = TAGS.encode("é", add_special_tokens=False).ids[0]
    *thought, close = TAGS.encode("<think>a</think>", add_special_tokens=False).ids
    answer = TAGS.encode("b", add_special_tokens=False).ids
    engine = ToldEngine(lambda _: [("thinking", [*thought, half, close]), ("answer", answer)])
    message = answered(engine).json["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("a�", "b")


@pytest.mark.parametrize(
    ("asked", "tail"),
    [
        ({}, ""),
        ({"reasoning_effort": "high"}, "highTrue"),
        ({"reasoning_effort": "minimal"}, "minimalFalse"),
        ({"reasoning_effort": "none"}, "False"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "False"),
        ({"chat_template_kwargs": {"thinking": True}, "reasoning_effort": "none"}, "True"),
    ],
)
def test_messages_and_what_is_said_of_thinking_reach_the_template(asked: dict[str, Any], tail: str) -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "x"},
        {"role": "tool", "content": "4", "tool_call_id": "y"},
    ]
    engine = says(TAGS, ("answer", "ok"))
    answered(engine, messages=messages, **asked)
    assert prompt_of(engine) == "system:be brief;user:ab;tool:4;" + tail


def test_without_a_number_of_tokens_the_context_is_the_bound() -> None:
    engine = says(TAGS, ("answer", "ok"))
    answered(engine, max_tokens=None)
    request = engine.turns[0].request
    assert request.max_tokens == 1000 - len(request.prompt_ids)
    answered(engine, max_completion_tokens=7)
    assert engine.turns[1].request.max_tokens == 7


def test_tools_that_are_not_to_be_called_are_no_matter() -> None:
    assert answered(says(TAGS, ("answer", "ok")), tools=[{"type": "function"}], tool_choice="none").status == 200


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"messages": [{"role": "user", "content": "forbidden"}]}, "messages"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
    ],
)
def test_what_a_chat_refuses(asked: dict[str, Any], param: str) -> None:
    error = refused(chat_completions, service_of(ToldEngine(), TAGS, TEMPLATE), {**HELLO, **asked})
    assert (error.status, error.param) == (400, param)
    assert "secret" not in error.message


def test_a_model_without_a_template_has_no_chat() -> None:
    assert refused(chat_completions, service_of(ToldEngine(), TAGS), HELLO).param == "messages"
