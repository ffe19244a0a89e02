"""The mock server tells log probabilities of its own tokens, and can be as strict about fields as OpenAI's API."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from endpoint_asking import ask as ask_engine
from endpoint_asking import asked, run, started
from mock_serving import AT_ONCE, CHAT, COMPLETIONS, ask, serving

from bench.engine.mock_server.settings import MockServerSettings

WORDS = [f" w{number}" for number in range(5)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(MockServerSettings(**AT_ONCE, thinking_share=0.4, tokens_per_event=2)) as url:
        yield url


@pytest.mark.parametrize("stream", [True, False])
def test_a_completion_has_one_for_each_token(url: str, stream: bool) -> None:
    answered = ask(url, max_tokens=5, logprobs=2, stream=stream)
    choices = answered.choices if stream else answered.json["choices"]
    told = [choice["logprobs"] for choice in choices if choice["logprobs"]]
    assert [token for one in told for token in one["tokens"]] == WORDS
    assert {figure for one in told for figure in one["token_logprobs"]} == {-math.log(2)}
    assert told[0]["top_logprobs"][0] == {" w0": -math.log(2), " w0'": -2 * math.log(2)}


@pytest.mark.parametrize("asked_for", [{}, {"logprobs": False}, {"top_logprobs": 2}])
def test_a_chat_tells_none_where_none_are_asked_for(url: str, asked_for: dict[str, Any]) -> None:
    assert not any(choice["logprobs"] for choice in ask(url, CHAT, max_tokens=5, **asked_for).choices)


@pytest.mark.parametrize("most", [0, 3])
def test_a_chat_has_one_for_each_token(url: str, most: int) -> None:
    choices = ask(url, CHAT, max_tokens=5, logprobs=True, top_logprobs=most).choices
    told = [one for choice in choices if choice["logprobs"] for one in choice["logprobs"]["content"]]
    assert [one["token"] for one in told] == WORDS
    assert {len(one["top_logprobs"]) for one in told} == {most}


def test_more_than_it_tells_is_refused(url: str) -> None:
    assert ask(url, max_tokens=5, logprobs=21).status == 400
    assert ask(url, CHAT, max_tokens=5, logprobs=True, top_logprobs=-1).status == 400


@pytest.mark.parametrize("api", ["completions", "chat"])
@pytest.mark.parametrize("pinned", [True, False])
def test_our_client_reads_what_it_tells(url: str, api: str, pinned: bool) -> None:
    async def main() -> Any:
        async with started(url, api=api) as engine:
            return await ask_engine(engine, replace(asked(5, pinned=pinned), logprobs=2))

    heard = run(main())
    assert heard.end.notes == ("counted_by_usage",)
    assert heard.tokens == 5
    assert all(len(chunk.logprobs) == chunk.n_tokens for chunk in heard.chunks)
    told = [one for chunk in heard.chunks for one in chunk.logprobs]
    assert [one.token for one in told] == WORDS
    assert all(one.top[0] == (one.token, one.logprob) and len(one.top) == 2 for one in told)


@pytest.mark.parametrize(("path", "field"), [(COMPLETIONS, "ignore_eos"), (CHAT, "top_k"), (CHAT, "prompt")])
def test_a_strict_server_refuses_fields_that_are_not_openais(path: str, field: str) -> None:
    with serving(MockServerSettings(**AT_ONCE, strict=True)) as url:
        assert ask(url, path, max_tokens=1, temperature=0.5).status == 200
        refused = ask(url, path, max_tokens=1, **{field: 1})
    assert refused.status == 400
    assert refused.json["error"]["message"] == f"unrecognized request argument: {field}"
