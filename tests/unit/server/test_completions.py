"""/v1/completions: what the engine says is what its client reads, whole and in events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from api_asking import END, Call, ToldEngine, letters, run, service_of, settled
from tokenizers import Tokenizer

from bench.core.records import TokenKind
from bench.core.sessions import TurnRequest
from bench.native.server.completions import completions

PLAIN = {"model": "small", "prompt": "ab", "max_tokens": 50}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}


def ids(text: str) -> list[int]:
    return list(letters().encode(text, add_special_tokens=False).ids)


def says(text: str) -> ToldEngine:
    """An engine that says `text`, a token a step, and then ends."""

    def script(_: TurnRequest) -> Sequence[tuple[TokenKind, Sequence[int]]]:
        return [*(("answer", [token_id]) for token_id in ids(text)), ("answer", ids(END))]

    return ToldEngine(script)


def answered(engine: ToldEngine, **asked: Any) -> Call:
    async def call() -> Call:
        return await Call(completions, service_of(engine), {**PLAIN, **asked}).ended()

    call_made: Call = run(call())
    assert call_made.over
    return call_made


def texts(call: Call) -> list[str]:
    return [event["choices"][0]["text"] for event in call.events if event is not True and event["choices"]]


def test_a_whole_answer() -> None:
    engine = says("né🙂!")
    call = answered(engine)
    assert call.json["choices"] == [{"index": 0, "text": "né🙂!", "logprobs": None, "finish_reason": "stop"}]
    assert call.json["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 9,
        "total_tokens": 11,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": None,
    }
    assert (call.json["model"], call.json["object"]) == ("small", "text_completion")
    assert engine.sessions_ended == [call.json["id"]]
    assert not engine.turns[0].cancelled


def test_who_asks_for_no_usage_gets_events_with_text_alone() -> None:
    assert texts(answered(says("né🙂!"), stream=True)) == ["n", "é", "🙂", "!", ""]


def test_a_stream_is_one_event_a_token_and_then_the_end_the_usage_and_the_word_that_it_is_over() -> None:
    call = answered(says("né🙂!"), **USAGE)
    assert call.headers["content-type"].startswith("text/event-stream")
    *said, end, usage, done = call.events
    # A token that is not yet a character, or none, has an event without text.
    assert [event["choices"][0]["text"] for event in said] == ["n", "", "é", "", "", "", "🙂", "!", ""]
    assert {event["choices"][0]["finish_reason"] for event in said} == {None}
    assert {event["usage"] for event in [*said, end]} == {None}
    assert end["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]
    assert (usage["choices"], usage["usage"]["completion_tokens"], done) == ([], 9, True)
    assert len({(event["id"], event["created"]) for event in [*said, end, usage]}) == 1


def test_usage_can_be_told_all_along() -> None:
    call = answered(says("é"), stream=True, stream_options={"continuous_usage_stats": True})
    *events, done = call.events
    assert [event["choices"][0]["text"] for event in events] == ["", "é", "", ""]
    assert [event["usage"]["completion_tokens"] for event in events] == [1, 2, 3, 3]
    assert done is True


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("said", "stop", "text", "tokens"),
    [
        ("abcdefg", "cd", "ab", 4),
        ("abcdefg", ["z", "de", "ef"], "abc", 5),
        ("abcdefg", ["g", "bcde"], "a", 5),
        ("ab🙂cd", "🙂", "ab", 6),
        ("abcdefg", ["abcdefgh"], "abcdefg", None),
    ],
)
def test_a_stop_string_ends_the_text_and_the_generation(
    stream: bool, said: str, stop: Any, text: str, tokens: int | None
) -> None:
    engine = says(said)
    call = answered(engine, stop=stop, stream=stream)
    assert engine.turns[0].cancelled == (tokens is not None)
    if stream:
        assert "".join(texts(call)) == text
        assert call.events[-2]["choices"][0]["finish_reason"] == "stop"
    else:
        [choice] = call.json["choices"]
        assert (choice["text"], choice["finish_reason"]) == (text, "stop")
        assert call.json["usage"]["completion_tokens"] == (tokens or 8)


def test_text_is_kept_back_no_further_than_it_may_be_a_stop_string() -> None:
    call = answered(says("aabac"), stop="ab!", stream=True)
    assert texts(call) == ["a", "ab", "ac", ""]


def test_no_stop_string_is_looked_for_in_the_fewest_tokens() -> None:
    engine = says("xaxbxc")
    call = answered(engine, stop="x", min_tokens=3)
    assert (call.json["choices"][0]["text"], engine.turns[0].request.min_tokens) == ("xaxb", 3)


@pytest.mark.parametrize("stream", [False, True])
def test_special_tokens_are_read_where_they_are_asked_for_but_not_the_one_that_ends_an_answer(stream: bool) -> None:
    engine = says("a" + END + "b" + END + END)
    shown = answered(engine, skip_special_tokens=False, stream=stream)
    assert ("".join(texts(shown)) if stream else shown.json["choices"][0]["text"]) == "a" + END + "b" + END + END
    assert answered(engine, skip_special_tokens=False, stop=END).json["choices"][0]["text"] == "a"
    assert answered(engine).json["choices"][0]["text"] == "ab"


def test_marks_of_thinking_that_are_special_are_told_as_they_come() -> None:
    tokenizer = Tokenizer.from_str(letters().to_str())
    tokenizer.add_special_tokens(["<think>", "</think>"])
    said = tokenizer.encode("<think>a</think>b" + END, add_special_tokens=False).ids

    async def call() -> Call:
        service = service_of(ToldEngine(lambda _: [("answer", [token_id]) for token_id in said]), tokenizer)
        return await Call(completions, service, {**PLAIN, **USAGE, "skip_special_tokens": False}).ended()

    # A client takes the time of each event for that of its tokens, and their kind from the text.
    assert texts(run(call())) == ["<think>", "a", "</think>", "b", "", ""]


def test_every_prompt_gets_its_answers_in_order_each_drawn_with_a_seed_of_its_own() -> None:
    engine = ToldEngine(
        lambda request: [("answer", [*request.prompt_ids]), ("answer", ids(str(request.sampling.seed)))]
    )
    call = answered(engine, prompt=["a", "bc"], n=2, seed=7)
    told = [(choice["index"], choice["text"]) for choice in call.json["choices"]]
    assert told == [(0, "a7"), (1, "a8"), (2, "bc7"), (3, "bc8")]
    usage = call.json["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 10)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 4}
    streamed = answered(engine, prompt=["a", "bc"], n=2, seed=7, stream=True)
    by_index = {index: "" for index, _ in told}
    for event in streamed.events[:-1]:
        by_index[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert [*by_index.items()] == told


@pytest.mark.parametrize(
    ("prompt", "given"),
    [
        ("ab", [ids("ab")]),
        ([5, 6], [[5, 6]]),
        ([[5], [6, 7]], [[5], [6, 7]]),
        (["a", "b"], [ids("a"), ids("b")]),
        ("a" * 5000, [ids("a" * 5000)[:5000]]),
    ],
)
def test_prompts_are_texts_or_tokens(prompt: Any, given: list[list[int]]) -> None:
    engine = says("x")
    engine.capabilities = type(engine.capabilities)(True, True, True, False, max_context_tokens=10_000)
    answered(engine, prompt=prompt)
    assert [list(turn.request.prompt_ids) for turn in engine.turns] == given


def test_what_is_asked_reaches_the_engine() -> None:
    engine = says("x")
    asked = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": -1,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "logit_bias": {"5": -3},
        "seed": -1,
        "ignore_eos": True,
        "unheard_of": 1,
    }
    answered(engine, **asked)
    request = engine.turns[0].request
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.5, 0.9, None, 0.1)
    assert (sampling.repetition_penalty, sampling.logit_bias, sampling.seed) == (1.1, ((5, -3.0),), 2**63 - 1)
    assert (request.max_tokens, request.ignore_eos, request.logprobs) == (50, True, 0)
    answered(engine, max_tokens=None, thinking_token_budget=4)
    default = engine.turns[1].request
    assert (default.max_tokens, default.sampling.temperature, default.turn.thinking_budget) == (16, 1.0, 4)
    assert default.sampling.seed != sampling.seed


def test_tokens_that_came_together_are_one_event() -> None:
    async def scenario() -> Call:
        engine = ToldEngine()
        call = Call(completions, service_of(engine), {**PLAIN, "stream": True})
        await settled()
        assert call.status == 0  # an error may still come
        engine.turns[0].say(ids("ab"))
        engine.turns[0].say(ids("c"))
        await settled()
        assert (call.status, texts(call)) == (200, ["abc"])
        engine.turns[0].end()
        return await call.ended()

    assert run(scenario()).events[1]["choices"][0]["finish_reason"] == "length"
