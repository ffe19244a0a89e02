"""Log probabilities are asked for in the form of either API and come with the tokens they are of."""

from __future__ import annotations

import json
from dataclasses import replace
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
    endpoint,
    event,
    response,
    run,
    started,
    token,
    usage,
)

from bench.core.records import TokenLogprob

CHOSEN = TokenLogprob("a", -0.5, (("a", -0.5), ("b", -1.0)))


def likely(tokens: int = 2, **request: Any) -> Any:
    return replace(asked(8, pinned=False), logprobs=tokens, **request)


def completions(*tokens: str, ids: bool = False) -> dict[str, Any]:
    """As a completion tells them, with the likely tokens in no order and one too many."""
    names = [f"token_id:{token}" for token in tokens] if ids else list(tokens)
    tops = [{"token_id:8" if ids else "c": -3.0, "token_id:7" if ids else "b": -1.0, name: -0.5} for name in names]
    return {"tokens": names, "token_logprobs": [-0.5] * len(names), "top_logprobs": tops, "text_offset": [0]}


def chat(*tokens: str) -> dict[str, Any]:
    def one(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    return {"content": [one(token, -0.5) | {"top_logprobs": [one(token, -0.5), one("b", -1.0)]} for token in tokens]}


def choice(logprobs: Any, **said: Any) -> bytes:
    return event({"choices": [{"index": 0, "finish_reason": None, "logprobs": logprobs, **said}]})


async def told(body: bytes, tokens: int = 2, **spec: Any) -> tuple[Heard, Any]:
    async with answering(body) as server, started(server.url, **spec) as engine:
        return await ask(engine, likely(tokens)), server.requests[0][1]


def test_they_are_asked_for_in_the_form_of_the_api_and_only_when_a_turn_does() -> None:
    body = chunked(token("a", finish_reason="stop") + usage(1) + DONE)
    assert run(told(body, 3))[1]["logprobs"] == 3
    said = run(told(body, 3, api="chat", logprobs_body={"return_tokens_as_token_ids": True}))[1]
    assert (said["logprobs"], said["top_logprobs"], said["return_tokens_as_token_ids"]) == (True, 3, True)
    assert "logprobs" not in run(told(body, 0, logprobs_body={"return_tokens_as_token_ids": True}))[1]
    assert endpoint("http://127.0.0.1:1", max_logprobs=7).capabilities.logprobs == 7


@pytest.mark.parametrize("whole", [False, True])
def test_completions_tell_them_from_likely_to_unlikely(whole: bool) -> None:
    logprobs = completions("a", "a")
    if whole:
        document = {
            "choices": [{"text": "aa", "logprobs": logprobs, "finish_reason": "stop"}],
            "usage": {"completion_tokens": 2},
        }
        body = response(json.dumps(document).encode(), "content-type: application/json")
    else:
        body = chunked(choice(logprobs, text="aa") + token("", finish_reason="stop") + usage(2) + DONE)
    heard = run(told(body))[0]
    (chunk,) = heard.chunks
    assert chunk.n_tokens == 2
    assert chunk.logprobs == (CHOSEN, CHOSEN)
    assert "logprobs_missing" not in heard.end.notes


def test_ids_are_numbers_where_a_server_tells_them() -> None:
    body = chunked(choice(completions("9", ids=True), text="a") + choice(None, text="", finish_reason="stop") + DONE)
    (chunk,) = run(told(body))[0].chunks
    assert chunk.logprobs == (TokenLogprob(9, -0.5, ((9, -0.5), (7, -1.0))),)


@pytest.mark.parametrize("told_usage", [usage(4), b""])
def test_a_chat_tells_them_of_thinking_and_answer_and_so_how_many_tokens_each_event_has(told_usage: bytes) -> None:
    body = (
        delta(role="assistant", content="")
        + choice(chat("a", "a"), delta={"reasoning_content": "aa"})
        + choice(chat("a"), delta={"content": "\N{REPLACEMENT CHARACTER}"})
        + choice(chat("a"), delta={"content": ""})  # of half a character: the token has no text of its own
        + delta("stop")
        + told_usage
        + DONE
    )
    heard = run(told(chunked(body, size=64), api="chat"))[0]
    assert [probability for chunk in heard.chunks for probability in chunk.logprobs or ()] == [CHOSEN] * 4
    assert all(len(chunk.logprobs or ()) == chunk.n_tokens for chunk in heard.chunks)
    assert (heard.tokens_of("thinking"), heard.tokens) == (2, 4)
    assert heard.end.notes == ("counted_by_usage" if told_usage else "no_usage",)


def test_what_arrived_of_an_answer_that_breaks_off_has_its_own() -> None:
    heard = run(told(chunked(choice(completions("a", "a"), text="aa"))))[0]
    assert heard.end.reason == "failed"
    assert [(chunk.n_tokens, chunk.logprobs) for chunk in heard.chunks] == [(2, (CHOSEN, CHOSEN))]


def test_what_a_server_leaves_out_is_noted() -> None:
    body = chunked(choice(completions("a"), text="a") + token("b", finish_reason="stop") + usage(2) + DONE)
    heard = run(told(body))[0]
    assert heard.tokens == 2
    assert heard.end.notes == ("logprobs_missing",)


@pytest.mark.parametrize("logprobs", [{"tokens": [3]}, {"content": "a"}, "none", [1]])
def test_what_has_not_their_form_fails_a_turn_that_asked_and_no_other(logprobs: Any) -> None:
    body = chunked(choice(logprobs, text="a", finish_reason="stop") + usage(1) + DONE)
    asked_for = run(told(body))[0].end
    assert (asked_for.reason, (asked_for.error or "").split(":")[0]) == ("failed", "garbage")
    assert run(told(body, 0))[0].end.reason == "stop"


def test_a_token_without_a_figure_is_left_out() -> None:
    logprobs = completions("a", "a") | {"token_logprobs": [None, -0.5], "top_logprobs": None}
    heard = run(told(chunked(choice(logprobs, text="aa", finish_reason="stop") + usage(2) + DONE)))[0]
    assert [chunk.logprobs for chunk in heard.chunks] == [(TokenLogprob("a", -0.5, ()),)]
    assert "logprobs_missing" in heard.end.notes
