"""The witness before a server: it passes on what comes, and its log is that of the server, a little later."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

import pytest
from mock_serving import CHAT, COMPLETIONS, ask, asked_on, connect, get, serving, truth
from servers import WITNESS, exchange_of, started
from witness import Passed

from bench.engine.mock_server.settings import MockServerSettings


def witnessed(url: str) -> AbstractContextManager[str]:
    """The URL of a witness before the server at `url`."""
    return started((*WITNESS, url), min(os.sched_getaffinity(0)))


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_its_log_is_that_of_the_server(path: str) -> None:
    with serving(MockServerSettings(ttft_ms=3, gap_ms=1, events_per_write=2)) as server, witnessed(server) as url:
        connection = connect(url)
        for tokens in (5, 4):
            answered = asked_on(connection, path, max_tokens=tokens, stream_options={"include_usage": True})
            assert answered.whole
        ask(url, path, max_tokens=2, stream_options={"include_usage": True})
        seen, known = truth(url), truth(server)
    assert [one["tokens"] for one in seen] == [one["tokens"] for one in known] == [5, 4, 2]
    assert [one["prompt_tokens"] for one in seen] == [one["prompt_tokens"] for one in known]
    for ours, its in zip(seen, known, strict=True):
        assert sum(ours["write_tokens"]) == its["tokens"]
        assert ours["t_received_ns"] <= its["t_received_ns"]  # it stands before the server
        assert ours["t_writes_ns"][0] >= its["t_writes_ns"][0]
        assert exchange_of(ours).output_tokens == its["tokens"]


def test_it_forgets_when_told_and_keeps_nothing_of_other_requests() -> None:
    with serving(MockServerSettings(ttft_ms=0, gap_ms=0)) as server, witnessed(server) as url:
        assert get(url, "/v1/models").json["data"][0]["id"] == "mock"
        ask(url, max_tokens=1)
        assert len(truth(url)) == 1
        get(url, "/reset", "POST")
        assert truth(url) == []


def test_an_event_in_two_pieces_has_the_time_of_the_second() -> None:
    passed = Passed(1, [(5, b'data: {"choices":[{"te'), (7, b'xt":"a"}]}\n\ndata: {"choices":[{"text":"b"}]}\n\n')])
    told = passed.as_json(1)
    assert (told["t_writes_ns"], told["write_tokens"], told["tokens"]) == ([7], [2], 2)


def test_a_role_and_a_finish_are_no_tokens_and_a_token_that_reads_nothing_is() -> None:
    role = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    end = b'data: {"choices":[{"delta":{},"finish_reason":"length"}],"usage":null}\n\ndata: [DONE]\n\n'
    thought = b'data: {"choices":[{"delta":{"reasoning_content":"a"}}]}\n\n'
    silent = b'data: {"choices":[{"delta":{"content":""},"finish_reason":null}]}\n\n'
    told = Passed(1, [(2, role), (3, silent), (4, thought), (5, end)]).as_json(1)
    assert (told["t_writes_ns"], told["tokens"]) == ([3, 4], 2)
