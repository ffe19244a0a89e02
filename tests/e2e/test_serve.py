"""`bench serve` with the tiny model, as its users meet it: what it answers, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from mock_serving import CHAT, COMPLETIONS, Answered, ask, connect, get
from serving import END_SECONDS, TINY, ServeProcess, bench_serve, is_there
from waiting import soon

KEY = "sk-of-a-test"
KEYED = {"Authorization": f"Bearer {KEY}"}
JSON = {"Content-Type": "application/json"}
LONG = {"model": "tiny", "prompt": "Once upon a time", "ignore_eos": True}


@pytest.fixture(scope="module")
def served() -> Iterator[ServeProcess]:
    with bench_serve(*TINY, "--max-waiting", 2) as served:
        yield served


class Streaming:
    """A stream that is read on a thread of its own, begun when this returns."""

    def __init__(self, served: ServeProcess, max_tokens: int, headers: dict[str, str] | None = None) -> None:
        self.answers: list[Answered] = []
        generated = served.metric("neobench_generated_tokens_total", headers)
        body: dict[str, Any] = {**LONG, "max_tokens": max_tokens}
        self._thread = threading.Thread(
            target=lambda: self.answers.append(ask(served.url, headers=headers, **body)), daemon=True
        )
        self._thread.start()
        assert soon(lambda: served.metric("neobench_generated_tokens_total", headers) > generated)

    def answered(self) -> Answered:
        self._thread.join(END_SECONDS)
        return self.answers[0]


def test_what_it_serves(served: ServeProcess) -> None:
    [model] = get(served.url, "/v1/models").json["data"]
    assert (model["id"], model["max_model_len"]) == (served.model, served.max_context_tokens) == ("tiny", 16384)
    whole = ask(served.url, stream=False, **LONG, max_tokens=8).json
    assert whole["usage"]["completion_tokens"] == 8
    streamed = ask(served.url, **LONG, max_tokens=8, temperature=0)
    assert streamed.events[-1] == "[DONE]"
    greedy = ask(served.url, stream=False, **LONG, max_tokens=8, temperature=0).json
    assert streamed.said() == greedy["choices"][0]["text"]
    chat = ask(served.url, CHAT, stream=False, model="tiny", max_tokens=4).json
    assert chat["choices"][0]["message"]["role"] == "assistant"


def test_a_client_that_leaves_takes_its_generation_with_it(served: ServeProcess) -> None:
    for stream in (True, False):
        connection = connect(served.url)
        connection.request("POST", COMPLETIONS, json.dumps({**LONG, "max_tokens": 16_000, "stream": stream}), JSON)
        assert soon(lambda: served.metric("neobench_generations_running") == 1)
        connection.sock.close()
        assert soon(lambda: served.metric("neobench_generations_running") == 0)
        assert soon(lambda: served.metric("neobench_kv_blocks_used") == 0)


def test_more_than_it_has_places_for_are_told_to_come_back(served: ServeProcess) -> None:
    connection = connect(served.url)
    connection.request(
        "POST", COMPLETIONS, '{"model":"tiny","prompt":"a","ignore_eos":true,"n":6,"max_tokens":2500}', JSON
    )
    assert soon(lambda: served.metric("neobench_generations_running") == 4)
    refused = ask(served.url, **LONG, max_tokens=1)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert refused.json["error"]["type"] == "rate_limit_error"
    never = ask(served.url, **LONG, max_tokens=1, n=7)
    assert (never.status, never.json["error"]["param"]) == (400, "n")
    connection.sock.close()
    assert soon(lambda: ask(served.url, **LONG, max_tokens=1).status == 200)


def test_told_to_end_it_lets_a_stream_end_and_leaves_no_process() -> None:
    with bench_serve(*TINY, "--api-key-env", "KEY_OF_A_TEST", environment={"KEY_OF_A_TEST": KEY}) as served:
        assert ask(served.url, **LONG).status == 401
        engine = served.children()
        assert engine
        stream = Streaming(served, 1500, KEYED)
        served.process.send_signal(signal.SIGTERM)
        assert soon(lambda: get(served.url, "/health").status == 503)
        assert ask(served.url, headers=KEYED, **LONG).status == 503
        answered = stream.answered()
        assert (answered.whole, answered.events[-1]) == (True, "[DONE]")
        assert served.process.wait(END_SECONDS) == 0
        assert not any(is_there(pid) for pid in engine)
        assert served.told() == "answers that go on: 1; ends without them after 60 s, or told again\n"


def test_without_its_engine_it_ends_and_says_why() -> None:
    with bench_serve(*TINY) as served:
        stream = Streaming(served, 16_000)
        [engine] = served.children()
        os.kill(engine, signal.SIGKILL)
        error = stream.answered().events[-1]["error"]
        assert (error["type"], error["message"]) == ("server_error", "the engine is lost")
        assert served.process.wait(END_SECONDS) == 3
        assert served.told() == "bench: the engine's process was ended by SIGKILL\n"
