"""What the mock server answers: the lengths, the words and the shapes a client relies on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mock_serving import AT_ONCE, CHAT, COMPLETIONS, ask, serving

from bench.engine.mock_server.settings import MockServerSettings

USAGE = {"stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(MockServerSettings(**AT_ONCE, cached_share=0.5)) as url:
        yield url


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_a_stream_says_as_many_words_as_were_asked_for_and_the_same_ones_each_time(url: str, path: str) -> None:
    first, second = (ask(url, path, max_tokens=5) for _ in range(2))
    assert first.said() == second.said() == " w0 w1 w2 w3 w4"
    assert first.choices[-1]["finish_reason"] == "length"
    assert first.events[-1] == "[DONE]"
    assert len({event["id"] for event in first.events[:-1]}) == 1


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_an_answer_that_is_not_streamed_says_the_same(url: str, path: str) -> None:
    answered = ask(url, path, max_tokens=5, stream=False)
    (choice,) = answered.json["choices"]
    assert (choice.get("text") or choice["message"]["content"]) == " w0 w1 w2 w3 w4"
    assert answered.json["usage"]["completion_tokens"] == 5


def test_usage_is_told_where_it_is_asked_for_with_ids_counted_and_texts_by_characters(url: str) -> None:
    assert not any("usage" in event for event in ask(url, max_tokens=2).events[:-1])
    usage = ask(url, prompt=list(range(40)), max_tokens=2, **USAGE).events[-2]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (40, 2, 42)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 20
    for prompt, tokens in (("x" * 41, 11), ("1, 2, 3", 2), ([[7, 8]], 2), (["12345"], 2)):
        assert ask(url, prompt=prompt, max_tokens=2, **USAGE).events[-2]["usage"]["prompt_tokens"] == tokens


def test_pictures_of_a_chat_are_counted(url: str) -> None:
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}, {"type": "text", "text": "what?"}]
    answered = ask(url, CHAT, messages=[{"role": "user", "content": parts}], max_tokens=1, **USAGE)
    assert answered.events[-2]["usage"]["prompt_tokens"] == 256 + 2


def test_a_chat_begins_with_a_role_that_is_no_token(url: str) -> None:
    assert ask(url, CHAT, max_tokens=2).choices[0]["delta"] == {"role": "assistant", "content": ""}
    with serving(MockServerSettings(**AT_ONCE, role_chunk=False)) as other:
        assert ask(other, CHAT, max_tokens=2).choices[0]["delta"] == {"content": " w0"}


@pytest.mark.parametrize(
    ("pinning", "tokens", "finish"),
    [
        ({}, 3, "stop"),
        ({"min_tokens": 6}, 6, "stop"),
        ({"ignore_eos": True}, 8, "length"),
        ({"min_tokens": 8}, 8, "length"),
    ],
)
def test_an_answer_ends_by_itself_unless_its_length_is_pinned(
    pinning: dict[str, object], tokens: int, finish: str
) -> None:
    with serving(MockServerSettings(**AT_ONCE, answer_tokens=3)) as url:
        answered = ask(url, max_tokens=8, **pinning)
    assert len(answered.said().split()) == tokens
    assert answered.choices[-1]["finish_reason"] == finish


@pytest.mark.parametrize("form", ["reasoning_content", "reasoning"])
def test_thinking_of_a_chat_stands_in_its_field(form: str) -> None:
    with serving(MockServerSettings(**AT_ONCE, thinking_share=0.25, thinking=form)) as url:  # type: ignore[arg-type]
        streamed, whole = ask(url, CHAT, max_tokens=8), ask(url, CHAT, max_tokens=8, stream=False)
    message = whole.json["choices"][0]["message"]
    assert streamed.said(form) == message[form] == " w0 w1"
    assert streamed.said() == message["content"] == " w2 w3 w4 w5 w6 w7"
    assert whole.json["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2


@pytest.mark.parametrize(
    ("form", "path", "text"),
    [
        ("tags", CHAT, "<think> w0 w1</think> w2 w3"),
        (
            "harmony",
            CHAT,
            "<|channel|>analysis<|message|> w0 w1<|end|><|start|>assistant<|channel|>final<|message|> w2 w3",
        ),
        ("reasoning_content", COMPLETIONS, "<think> w0 w1</think> w2 w3"),
    ],
)
def test_thinking_without_a_field_is_marked_in_the_text(form: str, path: str, text: str) -> None:
    with serving(MockServerSettings(**AT_ONCE, thinking_share=0.5, thinking=form)) as url:  # type: ignore[arg-type]
        assert ask(url, path, max_tokens=4).said() == text
        (choice,) = ask(url, path, max_tokens=4, stream=False).json["choices"]
    assert (choice.get("text") or choice["message"]["content"]) == text


@pytest.mark.parametrize("per_event", [1, 3, 100])
@pytest.mark.parametrize("per_write", [1, 4])
def test_tokens_share_events_and_events_share_writes(per_event: int, per_write: int) -> None:
    settings = MockServerSettings(**AT_ONCE, tokens_per_event=per_event, events_per_write=per_write, thinking_share=0.5)
    with serving(settings) as url:
        answered = ask(url, CHAT, max_tokens=20)
    deltas = [choice["delta"] for choice in answered.choices[1:-1]]
    assert len(deltas) == 2 * -(-10 // per_event)
    assert answered.said("reasoning_content") + answered.said() == "".join(f" w{index}" for index in range(20))


def test_echo_answers_with_the_last_line_and_thinks_before_it() -> None:
    line = 'it said {"a":  "ü"}\tand stopped'
    with serving(MockServerSettings(**AT_ONCE, echo=True, thinking_share=0.5)) as url:
        chat = ask(url, CHAT, messages=[{"role": "user", "content": f"first\n{line}\n"}], max_tokens=64)
        cut = ask(url, prompt=f"first\n{line}", max_tokens=2)
    assert chat.said() == line
    assert chat.choices[-1]["finish_reason"] == "stop"
    assert cut.choices[-1]["finish_reason"] == "length"


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": None},
        {"prompt": []},
        {"prompt": ""},
        {"prompt": 12},
        {"prompt": [1.5]},
        {"prompt": ["a", "b"]},
        {"max_tokens": 0},
        {"max_tokens": "many"},
        {"n": 2},
    ],
)
def test_a_body_the_api_does_not_allow_is_answered_400_and_told_why(url: str, body: dict[str, object]) -> None:
    answered = ask(url, **body)
    assert answered.status == 400
    assert answered.json["error"]["message"]
