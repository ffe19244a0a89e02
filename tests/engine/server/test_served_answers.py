"""What `bench serve` answers is what its engine says in process, asked by our own client and by one that is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import endpoint_asking
import mock_serving
import pytest
from endpoint_asking import Heard, ask_all, started
from mock_serving import CHAT, COMPLETIONS, Answered, connect
from serving import TINY, ServeProcess, bench_serve
from waiting import soon

from bench.core.chat_template import ChatTemplate
from bench.core.records import Chunk
from bench.core.sessions import Message, Sampling, Segment, Turn, TurnRequest
from bench.core.tokenizer import load_tokenizer

MODEL = Path(__file__).parents[3] / "configs" / "models" / "tiny"
TOKENIZER = load_tokenizer(MODEL)
QUESTIONS = ("What is 17 + 25?", "Name a colour.", "Add 3 and 4.", "Say nothing.")


@pytest.fixture(scope="module")
def served() -> Iterator[ServeProcess]:
    with bench_serve(*TINY) as served:
        yield served


@pytest.fixture(scope="module")
def engine(client: Any) -> Iterator[Any]:
    engine = client.engine(MODEL, max_running=4)
    client.run(engine.start())
    yield engine
    client.run(engine.stop())


def ask(served: ServeProcess, path: str = COMPLETIONS, **body: Any) -> Answered:
    asked = {"messages": [{"role": "user", "content": QUESTIONS[0]}]} if path == CHAT else {"prompt": QUESTIONS[0]}
    asked |= {"model": served.model, "temperature": 0, **body}
    return mock_serving.ask(served.url, path, **asked)


def requests(*, ignore_eos: bool, tokens: int = 40) -> list[TurnRequest]:
    """A turn for each question, put as a chat, in every form it can be asked in."""
    template = ChatTemplate.from_folder(MODEL)
    assert template is not None
    made = []
    for question in QUESTIONS:
        message = Message("user", question)
        ids = tuple(TOKENIZER.encode(template.render([message]), add_special_tokens=False).ids)
        turn = Turn(0, (Segment("question", len(ids)),), tokens)
        made.append(TurnRequest("session", turn, ids, tokens, ignore_eos, Sampling(), (message,), logprobs=1))
    return made


def tokens_of(chunks: list[Chunk]) -> list[tuple[int | str, int]]:
    """The tokens by their ids, each with the thousandths of its log probability."""
    return [(one.token, round(one.logprob * 1000)) for chunk in chunks for one in chunk.logprobs or ()]


@pytest.mark.parametrize("api", ["completions", "chat"])
@pytest.mark.parametrize("ignore_eos", [True, False], ids=["pinned", "free"])
def test_our_client_hears_the_tokens_that_the_engine_says_in_process(
    client: Any, engine: Any, served: ServeProcess, api: str, ignore_eos: bool
) -> None:
    asked = requests(ignore_eos=ignore_eos)

    async def over_http() -> list[Heard]:
        told_by_id = {"logprobs_body": {"return_tokens_as_token_ids": True}, "max_logprobs": 5}
        marked = {"extra_body": {"skip_special_tokens": False}}
        async with started(served.url, api=api, **told_by_id, **marked) as endpoint:
            return await ask_all(endpoint, asked)

    in_process = client.run(client.answer(engine, *asked))
    for here, there in zip(in_process, endpoint_asking.run(over_http()), strict=True):
        assert tokens_of(there.chunks) == tokens_of(here.chunks)
        assert there.end.reason == here.ended.reason
        # Not every token has a text of its own.
        assert set(there.end.notes) <= {"counted_by_usage"}
        assert there.tokens == len(here.token_ids)
        if not ignore_eos:
            thought = sum(chunk.n_tokens for chunk in here.chunks if chunk.kind == "thinking")
            assert there.tokens_of("thinking") == thought
            assert [there.chunks[0].kind, here.chunks[0].kind] == ["thinking"] * 2


def test_streamed_and_whole_are_one_text(served: ServeProcess, client: Any, engine: Any) -> None:
    asked = {"max_tokens": 60, "temperature": 1.2, "seed": 5, "ignore_eos": True, "skip_special_tokens": False}
    streamed, whole = ask(served, **asked), ask(served, stream=False, **asked)
    assert streamed.said() == whole.json["choices"][0]["text"]
    ids = tuple(TOKENIZER.encode(QUESTIONS[0]).ids)
    drawn = client.request(ids, 60, Sampling(temperature=1.2, seed=5))
    (sink,) = client.run(client.answer(engine, drawn))
    assert streamed.said() == TOKENIZER.decode(list(sink.token_ids), skip_special_tokens=False)


def test_thinking_is_apart_and_can_be_bounded(served: ServeProcess) -> None:
    free, bounded = (
        ask(served, CHAT, stream=False, max_tokens=200, thinking_token_budget=budget).json for budget in (-1, 6)
    )
    thought = [answer["usage"]["completion_tokens_details"]["reasoning_tokens"] for answer in (free, bounded)]
    assert thought[0] > 6 >= thought[1] > 0
    for answer in (free, bounded):
        message = answer["choices"][0]["message"]
        assert message["reasoning_content"]
        assert "think>" not in message["reasoning_content"] + message["content"]


def test_a_stop_string_and_the_fewest_tokens(served: ServeProcess) -> None:
    asked = {"stream": False, "max_tokens": 40, "ignore_eos": True}
    text = ask(served, **asked).json["choices"][0]["text"]
    stop = text[10:13]
    cut = ask(served, stop=[stop], **asked).json
    assert cut["choices"][0]["text"] == text[: text.index(stop)]
    assert cut["choices"][0]["finish_reason"] == "stop"
    assert cut["usage"]["completion_tokens"] < 40
    least = ask(served, CHAT, stream=False, max_tokens=300, min_tokens=300).json
    assert least["usage"]["completion_tokens"] == 300


def test_usage_tells_what_the_prefix_cache_held_though_a_stop_string_ended_the_answer(served: ServeProcess) -> None:
    asked = {"max_tokens": 40, "ignore_eos": True, "prompt": list(range(300, 345))}
    text = ask(served, stream=False, **asked).json["choices"][0]["text"]
    whole = ask(served, stream=False, stop=text[10:13], **asked).json
    *_, last, _ = ask(served, stream_options={"include_usage": True}, stop=text[10:13], **asked).events
    for usage in (whole["usage"], last["usage"]):
        assert usage["completion_tokens"] < 40
        assert usage["prompt_tokens_details"] == {"cached_tokens": 32}


def test_choices_are_drawn_with_seeds_one_apart(served: ServeProcess) -> None:
    asked = {"stream": False, "max_tokens": 12, "temperature": 1.0, "prompt": [[40, 41], [5, 6, 7]]}
    both = [choice["text"] for choice in ask(served, n=2, seed=8, **asked).json["choices"]]
    alone = [[choice["text"] for choice in ask(served, seed=seed, **asked).json["choices"]] for seed in (8, 9)]
    assert both == [alone[0][0], alone[1][0], alone[0][1], alone[1][1]]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_generations(served: ServeProcess, stream: bool) -> None:
    connection = connect(served.url)
    asked = {"model": served.model, "prompt": "a", "max_tokens": 3000, "ignore_eos": True, "n": 2, "stream": stream}
    connection.request("POST", COMPLETIONS, json.dumps(asked), {"Content-Type": "application/json"})
    assert soon(lambda: served.metric("neobench_generations_running") == 2)
    if stream:
        assert connection.getresponse().read(100)
    connection.close()
    assert soon(lambda: served.metric("neobench_generations_running") == 0)


@pytest.mark.parametrize(
    ("asked", "param"), [({"logit_bias": {"2048": 1}}, "logit_bias"), ({"prompt": [2048]}, "prompt")]
)
def test_a_token_that_the_model_does_not_have(served: ServeProcess, asked: dict[str, Any], param: str) -> None:
    refused = ask(served, stream=False, max_tokens=1, **asked)
    assert (refused.status, refused.json["error"]["param"]) == (400, param)
    assert ask(served, stream=False, max_tokens=1, logit_bias={"2047": 1}).status == 200
