"""What is sent says what the turn asks, and nothing that was not asked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from endpoint_asking import asked

from bench.core.sessions import Message, Sampling, TurnRequest
from bench.core.spec import EndpointEngineSpec
from bench.engine.http.address import Address
from bench.engine.http.request import RequestRenderer


def rendered(request: TurnRequest, key: str | None = None, **spec: Any) -> tuple[list[str], Any]:
    """Lines of the head, and the body."""
    of = EndpointEngineSpec(kind="endpoint", base_url="http://host:8000", **spec)
    message = RequestRenderer(of, Address.parse(of.base_url), "served", key).render(request)
    head, _, body = message.decode().partition("\r\n\r\n")
    assert f"Content-Length: {len(body.encode())}" in head
    return head.split("\r\n"), json.loads(body)


def test_a_completion_in_token_ids() -> None:
    lines, body = rendered(asked(7))
    assert lines[:2] == ["POST /v1/completions HTTP/1.1", "Host: host:8000"]
    assert "Content-Type: application/json" in lines
    assert not any(line.startswith("Authorization") for line in lines)
    assert body == {
        "model": "served",
        "prompt": [1, 2, 3],
        "max_tokens": 7,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
        "min_tokens": 7,
    }


def test_a_completion_in_text() -> None:
    assert rendered(asked(text="ü"), prompt="text")[1]["prompt"] == "ü"


def test_a_chat_with_pictures_before_their_text() -> None:
    messages = (Message("system", "be brief"), Message("user", "what is this?", (b"\x89PNG",)))
    lines, body = rendered(replace(asked(), messages=messages), api="chat")
    assert lines[0] == "POST /v1/chat/completions HTTP/1.1"
    assert "prompt" not in body
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                {"type": "text", "text": "what is this?"},
            ],
        },
    ]


def test_the_key_is_a_bearer() -> None:
    assert "Authorization: Bearer sk-1" in rendered(asked(), key="sk-1")[0]


@pytest.mark.parametrize("pinned", [False, True])
def test_length_is_forced_only_where_the_server_can(pinned: bool) -> None:
    assert "min_tokens" not in rendered(asked(pinned=pinned), force_length=False)[1]
    assert ("ignore_eos" in rendered(asked(pinned=pinned))[1]) == pinned


def test_a_length_is_forced_in_the_servers_own_words() -> None:
    body = rendered(
        asked(7), force_length={"exact": {"tokens": "$max_tokens"}}, max_tokens_field="max_completion_tokens"
    )[1]
    assert body["exact"] == {"tokens": 7}
    assert body["max_completion_tokens"] == 7
    assert not {"max_tokens", "min_tokens", "ignore_eos"} & body.keys()


def test_what_a_server_does_not_know_is_not_sent() -> None:
    drawn = replace(asked(), sampling=Sampling(temperature=1.0, seed=5))
    body = rendered(drawn, sampling_fields=["top_p"], stream_options={})[1]
    assert not {"temperature", "seed", "stream_options"} & body.keys()


def test_sampling_is_sent_where_it_differs_from_the_apis_own() -> None:
    drawn = Sampling(
        temperature=0.7, seed=5, top_k=9, top_p=0.9, min_p=0.1, repetition_penalty=1.1, logit_bias=((3, -1.0),)
    )
    body = rendered(replace(asked(), sampling=drawn))[1]
    asked_for = {
        "seed": 5,
        "top_k": 9,
        "top_p": 0.9,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "logit_bias": {"3": -1.0},
    }
    assert {name: body[name] for name in asked_for} == asked_for
    assert body["temperature"] == 0.7


def test_effort_is_the_turns() -> None:
    assert rendered(asked(effort="low"), api="chat")[1]["reasoning_effort"] == "low"
    assert "reasoning_effort" not in rendered(asked(), api="chat")[1]
    assert "reasoning_effort" not in rendered(asked(effort="low"))[1]  # its prompt says it
    told = rendered(asked(effort="low"), api="chat", effort_body={"thinking": {"level": "$effort", "most": 9}})[1]
    assert told["thinking"] == {"level": "low", "most": 9}
    assert "reasoning_effort" not in told


def test_the_extra_body_is_laid_over_the_rest() -> None:
    body = rendered(asked(), extra_body={"max_tokens": 1, "chat_template_kwargs": {"a": None}})[1]
    assert body["max_tokens"] == 1
    assert body["chat_template_kwargs"] == {"a": None}


def test_a_thinking_budget_takes_the_places_kept_for_it() -> None:
    extra = {"thinking": {"type": "on", "budget": "$thinking_budget"}, "budgets": ["$thinking_budget", 1]}
    body = rendered(asked(thinking_budget=32), extra_body=extra)[1]
    assert body["thinking"] == {"type": "on", "budget": 32}
    assert body["budgets"] == [32, 1]
    body = rendered(asked(), extra_body=extra)[1]
    assert body["thinking"] == {"type": "on"}
    assert body["budgets"] == [1]
