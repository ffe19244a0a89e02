"""What the mock server does wrong on purpose is what it says it does."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mock_serving import AT_ONCE, CHAT, ask, asked_on, connect, get, serving, truth

from bench.core.errors import InputError
from bench.engine.mock_server.faults import FAULT_HEADER, MEANING, FaultKind, FaultRule, parse_rule
from bench.engine.mock_server.settings import MockServerSettings

USAGE = {"stream_options": {"include_usage": True}}


def rules(*texts: str) -> tuple[FaultRule, ...]:
    return tuple(parse_rule(text, "--fault") for text in texts)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(MockServerSettings(**AT_ONCE)) as url:
        yield url


def wrong(fault: str) -> dict[str, str]:
    return {FAULT_HEADER: fault}


def stays_silent(url: str, fault: str, received: bytes) -> bool:
    """Whether the server sends nothing more once `received` has come, and keeps the connection."""
    place = urlsplit(url)
    body = b'{"prompt":[1],"max_tokens":4,"stream":true}'
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: mock\r\n{FAULT_HEADER}: {fault}\r\nContent-Length: {len(body)}"
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        answered = b""
        while received not in answered:
            answered += connection.recv(1 << 16)
        connection.settimeout(0.1)
        try:
            return connection.recv(1) == b"?"
        except TimeoutError:
            return True


@pytest.mark.parametrize(("status", "told"), [(401, None), (429, "1"), (500, None), (503, "1")])
def test_a_refusal_has_its_status_and_says_when_to_come_back(url: str, status: int, told: str | None) -> None:
    answered = ask(url, headers=wrong(str(status)))
    assert (answered.status, answered.json["error"]["code"]) == (status, status)
    assert answered.headers.get("retry-after") == told


@pytest.mark.parametrize("fault", ["reset", "reset:at=2"])
def test_reset(url: str, fault: str) -> None:
    with pytest.raises(ConnectionResetError):
        ask(url, headers=wrong(fault), max_tokens=4)


def test_refuse_closes_the_door_behind_the_request_that_meets_it() -> None:
    with serving(MockServerSettings(**AT_ONCE)) as url:
        kept = connect(url)
        assert asked_on(kept, headers=wrong("refuse"), max_tokens=1).status == 200
        with pytest.raises(ConnectionRefusedError):
            ask(url)
        assert asked_on(kept, max_tokens=1).status == 200
    with serving(MockServerSettings(faults=rules("refuse"))) as url, pytest.raises(ConnectionRefusedError):
        ask(url)


def test_garbage_is_no_http_or_no_json(url: str) -> None:
    with pytest.raises(http.client.BadStatusLine):
        ask(url, headers=wrong("garbage"))
    events = ask(url, headers=wrong("garbage:at=2"), max_tokens=4).events
    assert [isinstance(event, dict) for event in events] == [True, True, False, False]


def test_streams_that_break_off(url: str) -> None:
    truncated = ask(url, headers=wrong("truncated:at=2"), max_tokens=4)
    assert not truncated.whole
    assert truncated.said() == " w0 w1"
    assert not ask(url, headers=wrong("wrong_content_length"), max_tokens=4).whole
    assert not ask(url, headers=wrong("truncated"), max_tokens=4, stream=False).whole


def test_stalls_keep_the_connection_and_say_nothing(url: str) -> None:
    assert stays_silent(url, "stall", b"\r\n\r\n")
    assert stays_silent(url, "stall:at=2", b" w1")


def test_streams_that_end_as_streams_may_not(url: str) -> None:
    assert "[DONE]" not in ask(url, headers=wrong("no_done"), max_tokens=4, **USAGE).events
    assert not any("usage" in event for event in ask(url, headers=wrong("no_usage"), max_tokens=4, **USAGE).events)
    failed = ask(url, headers=wrong("api_error:at=2"), max_tokens=4)
    assert failed.said() == " w0 w1"
    assert failed.events[-2]["error"]["code"] == 500
    short = ask(url, headers=wrong("short:at=3"), max_tokens=8, ignore_eos=True, **USAGE)
    assert short.said() == " w0 w1 w2"
    assert short.events[-2]["usage"]["completion_tokens"] == 3
    assert ask(url, headers=wrong("short"), max_tokens=8).said() == " w0 w1 w2 w3"


def test_endless_goes_on_until_the_client_has_had_enough(url: str) -> None:
    connection = connect(url)
    connection.request("POST", "/v1/completions", b'{"prompt":[1],"max_tokens":2,"stream":true}', wrong("endless"))
    assert len(connection.getresponse().read(1 << 20)) == 1 << 20
    connection.close()
    assert ask(url, max_tokens=1).status == 200


@pytest.mark.parametrize("fault", ["split", "coalesce", "slow_head"])
def test_what_only_cuts_the_bytes_otherwise_changes_no_answer(url: str, fault: str) -> None:
    wrongly, rightly = ask(url, CHAT, headers=wrong(fault), max_tokens=5), ask(url, CHAT, max_tokens=5)
    assert wrongly.choices == rightly.choices
    assert truth(url)[-2]["fault"] == fault


def test_coalesced_events_share_a_write_and_split_ones_count_by_their_last() -> None:
    with serving(MockServerSettings(ttft_ms=1, gap_ms=1)) as url:
        ask(url, headers=wrong("coalesce"), max_tokens=4)
        ask(url, headers=wrong("split"), max_tokens=4)
        assert [record["write_tokens"] for record in truth(url)] == [[2, 2], [1, 1, 1, 1]]


def test_each_fault_has_its_turn() -> None:
    with serving(MockServerSettings(**AT_ONCE, faults=rules("500:every=2", "429:every=3"))) as url:
        assert [ask(url, max_tokens=1).status for _ in range(6)] == [200, 500, 429, 500, 200, 500]
        get(url, "/reset", "POST")
        assert ask(url, max_tokens=1).status == 200


@pytest.mark.parametrize(
    "text", ["", "nothing", "500:every=0", "500:every=x", "stall:at=-1", "500:at=1", "stall:at=1:at=2"]
)
def test_what_is_no_fault_is_told_in_one_line(text: str, refusal: Callable[..., str]) -> None:
    with pytest.raises(InputError):
        parse_rule(text, "--fault")
    assert "--fault" in refusal("mock", "--fault", text)


def test_every_fault_is_known_by_its_name_and_explained() -> None:
    kinds: tuple[FaultKind, ...] = tuple(MEANING)
    assert [parse_rule(kind, "here").fault.kind for kind in kinds] == list(kinds)


def test_a_key_that_is_not_there_and_a_port_that_is_taken_are_told(refusal: Callable[..., str]) -> None:
    assert "NO_SUCH_VARIABLE" in refusal("mock", "--api-key-env", "NO_SUCH_VARIABLE")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "in use" in refusal("mock", "--port", taken.getsockname()[1])


@pytest.mark.parametrize("host", ["", "nowhere.invalid", "192.0.2.1", "\udcff", "a" * 100])
def test_a_host_that_is_not_this_machine_is_told(host: str, refusal: Callable[..., str]) -> None:
    assert "of this machine" in refusal("mock", "--host", host)


@pytest.mark.parametrize("ms", ["-1", "nan", "inf", "1e300"])
def test_a_time_that_no_answer_can_take_is_told(ms: str, refusal: Callable[..., str]) -> None:
    for option in ("--ttft-ms", "--gap-ms", "--jitter-ms"):
        assert option in refusal("mock", option, ms)


def test_a_file_that_cannot_be_written_is_told_before_anything_is_answered(
    tmp_path: Path, refusal: Callable[..., str]
) -> None:
    assert "cannot be written" in refusal("mock", "--truth", tmp_path / "none" / "truth.json")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_listens_and_ends_at_once_when_told(ending: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "truth.json"
    program = [sys.executable, "-c", "from bench.cli.main import main; main()"]
    arguments = ["mock", "--json", "--ttft-ms", "20000", "--truth", file]
    process = subprocess.Popen([*program, *arguments], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        waiting = connect(url)
        waiting.request("POST", "/v1/completions", b'{"prompt":[1],"stream":true}')
        assert waiting.getresponse().status == 200
        process.send_signal(ending)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    (record,) = json.loads(file.read_bytes())["requests"]
    assert (record["ended"], record["tokens"]) == ("left", 0)
