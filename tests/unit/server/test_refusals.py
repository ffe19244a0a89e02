"""What is not accepted is refused with its place in the request, and nothing that is sent is the server's mistake."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from api_asking import ToldEngine, refused, service_of
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.native.server.completions import completions
from bench.native.server.errors import ApiError
from bench.native.server.schema import ChatRequest, CompletionRequest, read_body

PLAIN: dict[str, Any] = {"model": "small", "prompt": "ab"}
COMPLETION, CHAT = msgspec.json.Decoder(CompletionRequest), msgspec.json.Decoder(ChatRequest)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [[1], []]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [1, -1]}, "prompt[1]"),
        ({"prompt": [1, True]}, "prompt[1]"),
        ({"prompt": "a" * 1000}, "prompt"),
        ({"prompt": "a" * 990, "max_tokens": 11}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 5, "min_tokens": 6}, "min_tokens"),
        ({"n": 0}, "n"),
        ({"n": 101}, "n"),
        ({"n": 2, "best_of": 3}, "best_of"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"min_p": 2}, "min_p"),
        ({"top_k": -2}, "top_k"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": 6}, "logprobs"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"echo": True}, "echo"),
        ({"suffix": "b"}, "suffix"),
        ({"stop_token_ids": [1]}, "stop_token_ids"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"thinking_token_budget": 3, "ignore_eos": True}, "thinking_token_budget"),
    ],
)
def test_what_a_completion_refuses(asked: dict[str, Any], param: str) -> None:
    engine = ToldEngine()
    error = refused(completions, service_of(engine), {**PLAIN, **asked})
    assert (error.status, error.param, error.type) == (400, param, "invalid_request_error")
    assert engine.turns == []


@pytest.mark.parametrize(
    "asked",
    [
        {"echo": False, "suffix": "", "best_of": 2, "n": 2, "presence_penalty": 0, "stop_token_ids": []},
        {"logprobs": None, "stop": None, "n": None, "stream": None, "seed": None, "logit_bias": None, "echo": None},
    ],
)
def test_what_says_nothing_is_accepted(asked: dict[str, Any]) -> None:
    read_body(COMPLETION, json.dumps({**PLAIN, **asked}).encode())


def test_another_model_is_not_found() -> None:
    error = refused(completions, service_of(ToldEngine()), {**PLAIN, "model": "secret"})
    assert (error.status, error.param, error.code) == (404, "model", "model_not_found")
    assert "secret" not in error.message


def test_more_generations_than_places_are_too_many() -> None:
    service = service_of(ToldEngine(), places=3)
    assert refused(completions, service, {**PLAIN, "prompt": ["a", "b"], "n": 2}).param == "n"
    # However many there are, they are counted before anything is made of them.
    assert refused(completions, service, {**PLAIN, "prompt": ["a"] * 100_000, "n": 128}).param == "n"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"prompt":"\xff"}', b"[" * 100_000, b"NaN", b'"\\ud800"'])
def test_what_is_not_json_is_told_so(body: bytes) -> None:
    with pytest.raises(ApiError) as refusal:
        read_body(COMPLETION, body)
    assert refusal.value.status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = sorted({field.name for kind in (CompletionRequest, ChatRequest) for field in msgspec.structs.fields(kind)})


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
@settings(max_examples=150, deadline=None)
def test_whatever_a_field_holds_it_is_read_or_refused(asked: dict[str, Any]) -> None:
    body = json.dumps({**PLAIN, "messages": [{"role": "user", "content": "a"}], **asked}).encode()
    for decoder in (COMPLETION, CHAT):
        error = refusal_of(decoder, body)
        if error is not None:
            assert error.status == 400
            assert error.param is not None
            assert error.param.split(".")[0].split("[")[0] in NAMES


def refusal_of(decoder: msgspec.json.Decoder[Any], body: bytes) -> ApiError | None:
    try:
        read_body(decoder, body)
    except ApiError as error:
        return error
    return None
