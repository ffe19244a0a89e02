"""The mock server at work: requests however they are cut, its truth, and times that do not drift."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest
from mock_serving import AT_ONCE, ask, asked_on, connect, get, serving, truth

from bench.core.units import NS_PER_MS
from bench.engine.mock_server.script import Grid
from bench.engine.mock_server.settings import MockServerSettings


def raw(url: str, *pieces: bytes, until: int) -> bytes:
    """What the server answers to these bytes, each sent by itself, until `until` bodies have ended."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        answered = b""
        while answered.count(b"\r\n0\r\n\r\n") < until and (data := connection.recv(1 << 16)):
            answered += data
    return answered


def request(max_tokens: int) -> bytes:
    body = json.dumps({"prompt": [1], "max_tokens": max_tokens, "stream": True}).encode()
    return b"POST /v1/completions HTTP/1.1\r\nHost: mock\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def test_requests_on_one_connection_are_answered_in_their_order() -> None:
    with serving(MockServerSettings(ttft_ms=1, gap_ms=1)) as url:
        answered = raw(url, request(3) + request(2) + request(1), until=3)
        assert [record["tokens"] for record in truth(url)] == [3, 2, 1]
    assert [body.count(b'"text":" w') for body in answered.split(b"HTTP/1.1 200 OK")[1:]] == [3, 2, 1]


def test_a_request_may_come_byte_by_byte_or_in_chunks() -> None:
    whole = request(2)
    body = b'{"prompt":[1],"max_tokens":2,"stream":true}'
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    chunked = (
        b"POST /v1/completions HTTP/1.1\r\nHost: mock\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    )
    with serving(MockServerSettings(**AT_ONCE)) as url:
        for pieces in ([whole[at : at + 1] for at in range(len(whole))], [chunked]):
            assert raw(url, *pieces, until=1).count(b'"text":" w') == 2


def test_a_connection_is_kept_until_its_client_wants_it_closed() -> None:
    with serving(MockServerSettings(**AT_ONCE)) as url:
        connection = connect(url)
        for _ in range(3):
            assert asked_on(connection, max_tokens=1).status == 200
        assert json.loads(get(url, "/truth").body)["connections"] == 2  # ours, and the one that asks for the truth
        assert asked_on(connection, max_tokens=1, headers={"Connection": "close"}).headers["connection"] == "close"
        assert connection.sock is None


def test_a_client_that_waits_to_be_told_is_told_to_send_its_body() -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: mock\r\nExpect: 100-continue\r\nContent-Length: 14\r\n\r\n"
    with serving(MockServerSettings(**AT_ONCE)) as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
            connection.sendall(head)
            assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b'{"prompt":[1]}')
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_truth_tells_of_each_request_when_it_was_read_and_its_tokens_written() -> None:
    with serving(MockServerSettings(ttft_ms=4, gap_ms=2)) as url:
        assert ask(url, max_tokens=5, headers={"X-Request-Id": "mine"}).headers["x-request-id"] == "mine"
        (record,) = truth(url)
        get(url, "/reset", "POST")
        assert truth(url) == []
    assert record["request_id"] == "mine"
    assert (record["tokens"], record["prompt_tokens"], record["ended"]) == (5, 3, "done")
    # No write is early, on a grid that later ones do not drift from.
    offsets_ns = [t_ns - record["t_received_ns"] for t_ns in record["t_writes_ns"]]
    assert all(offset >= (4 + 2 * index) * NS_PER_MS for index, offset in enumerate(offsets_ns))
    assert record["t_end_ns"] >= record["t_writes_ns"][-1]


def test_jitter_is_a_requests_own_and_leaves_the_grid_where_it_is() -> None:
    settings = MockServerSettings(ttft_ms=5, gap_ms=40, jitter_ms=30, seed=7)

    def late_ns(number: int) -> list[int]:
        grid = Grid(settings, number)
        return [grid.due_ns(write) - (5 + 40 * write) * NS_PER_MS for write in range(8)]

    assert late_ns(1) == late_ns(1) != late_ns(2)
    assert all(0 <= late <= 30 * NS_PER_MS for late in late_ns(1) + late_ns(2))


def test_an_answer_larger_than_the_socket_takes_arrives_whole() -> None:
    with serving(MockServerSettings(**AT_ONCE, events_per_write=1000)) as url:
        place = urlsplit(url)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            slow.connect((place.hostname, place.port))
            slow.sendall(request(50_000))
            # The server is kept waiting, and answers others meanwhile.
            assert ask(url, max_tokens=2).said() == " w0 w1"
            received = bytearray()
            while not received.endswith(b"\r\n0\r\n\r\n"):
                received += slow.recv(1 << 20)
    assert received.count(b'"text":" w') == 50_000


def test_beyond_the_most_open_answers_a_request_is_answered_429() -> None:
    with serving(MockServerSettings(ttft_ms=20_000, max_open=1)) as url:
        waiting = connect(url)
        waiting.request("POST", "/v1/completions", b'{"prompt":[1],"stream":true}')
        assert waiting.getresponse().status == 200
        refused = ask(url)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")


def test_a_server_with_a_key_asks_for_it() -> None:
    with serving(MockServerSettings(**AT_ONCE, api_key="secret")) as url:
        assert ask(url).status == 401
        assert get(url, "/v1/models").status == 401
        assert ask(url, headers={"Authorization": "Bearer other"}).status == 401
        assert ask(url, headers={"Authorization": "Bearer secret"}, max_tokens=1).status == 200
    assert "secret" not in repr(MockServerSettings(api_key="secret"))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"prompt":"\xff"}', b'{"prompt":[1,]}', b"[" * 100_000])
def test_a_body_that_is_no_json_of_the_api_is_answered_400(body: bytes) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: mock\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with serving(MockServerSettings(**AT_ONCE)) as url:
        assert raw(url, head + body, until=1).startswith(b"HTTP/1.1 400 Bad Request")


def test_what_it_does_not_serve_is_told_in_the_apis_own_form() -> None:
    with serving(MockServerSettings(**AT_ONCE)) as url:
        assert get(url, "/v2/completions").status == 404
        assert get(url, "/v1/completions").status == 405
        assert get(url, "/v1/models").json["data"][0]["id"] == "mock"
        assert get(url, "/health").status == 200
        for nothing_it_reads in (b"\x16\x03\x01 not HTTP\r\n\r\n", b"GET /health HTTP/1.0\r\n\r\n"):
            assert raw(url, nothing_it_reads, until=1).startswith(b"HTTP/1.1 400 Bad Request")
