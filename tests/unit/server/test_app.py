"""Routes, refusals and limits of the server, over real connections."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from app_serving import GENERATE, Served, app_serving, heard
from mock_serving import ask, connect, get

JSON = b"Content-Type: application/json\r\n"
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: here\r\n" + JSON


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with app_serving(body_bytes=1000, head_bytes=4000) as served:
        yield served


def asked(served: Served, body: bytes = b"{}", **headers: str) -> tuple[int, dict[str, str]]:
    connection = connect(served.url)
    connection.request("POST", GENERATE, body, {"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    return response.status, dict(response.getheaders())


def test_what_every_server_of_this_api_tells(served: Served) -> None:
    [model] = get(served.url, "/v1/models").json["data"]
    assert model == {
        "id": 'a "tiny" one',
        "object": "model",
        "created": 7,
        "owned_by": "bench serve",
        "max_model_len": 1_000_000,
    }
    assert (get(served.url, "/health").status, get(served.url, "/version").json) == (200, {"version": "1.2.3"})
    assert get(served.url, "/openapi.json").json["openapi"].startswith("3.1")
    head = get(served.url, "/health", "HEAD")
    assert (head.status, head.body) == (200, b"")


def test_it_describes_what_it_serves(served: Served) -> None:
    document = get(served.url, "/openapi.json").json
    paths = {path: set(operations) for path, operations in document["paths"].items()}
    others = {path: {"get"} for path in ("/v1/models", "/health", "/metrics", "/version")}
    assert paths == {GENERATE: {"post"}, **others}
    for path in others:
        assert get(served.url, path).status == 200
    responses = document["paths"][GENERATE]["post"]["responses"]
    assert {"200", "400", "404", "413", "415", "429", "503"} <= set(responses)
    assert set(document["paths"]["/health"]["get"]["responses"]) == {"200", "503"}
    assert "security" not in document


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/v1/engines", 404, None),
        ("GET", "/v1/models/", 404, None),
        ("GET", GENERATE, 405, "POST"),
        ("OPTIONS", GENERATE, 405, "POST"),
        ("DELETE", "/v1/models", 405, "GET, HEAD"),
        ("BREW", "/", 400, None),
    ],
)
def test_other_paths_and_methods(served: Served, method: str, path: str, status: int, allowed: str | None) -> None:
    answered = get(served.url, path, method)
    assert (answered.status, answered.headers.get("allow")) == (status, allowed)
    assert answered.json["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_only_json_is_read(served: Served, kind: str) -> None:
    assert asked(served, **{"Content-Type": kind})[0] == 415


def test_a_charset_is_no_other_kind(served: Served) -> None:
    assert asked(served, **{"Content-Type": "Application/JSON; charset=utf-8"})[0] == 200


def test_too_large_a_body_is_refused_by_its_head_and_the_connection_goes_on(served: Served) -> None:
    connection = connect(served.url)
    connection.request("POST", GENERATE, b" " * 10_000_000, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]["message"]) == (413, "more than 1000 bytes")
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200


def test_too_large_a_body_is_refused_while_it_comes(served: Served) -> None:
    chunks = b"Transfer-Encoding: chunked\r\n\r\n" + b"1f4\r\n" + b" " * 500 + b"\r\n"
    rest = b"1f4\r\n" + b" " * 500 + b"\r\n1\r\n \r\n0\r\n\r\n"
    said = served.say(HEAD + chunks, rest, b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413")
    assert b"HTTP/1.1 200" in said


def test_what_all_bodies_may_hold_together() -> None:
    with app_serving(bodies_bytes=100) as served:
        status, headers = asked(served, b"{}" + b" " * 99)
        assert (status, headers["retry-after"]) == (429, "1")
        assert asked(served)[0] == 200


def test_a_body_that_does_not_come() -> None:
    with app_serving(body_s=0.05) as served:
        said = served.say(HEAD + b"Content-Length: 10\r\nConnection: close\r\n\r\n{")
        assert said.startswith(b"HTTP/1.1 408")
        assert b"no body after 0.05 s" in said


def test_a_body_that_breaks_off_is_nobodys_failure(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 10\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        assert heard(connection) == b""
    assert served.told == []


@pytest.mark.parametrize(
    "start", [b"", b"GET / HTTP/1.1\r\nX-Slow: 1", b"\r\n", HEAD + b"Content-Length: 2\r\n\r\n{}GET /"]
)
def test_a_head_that_does_not_come(start: bytes) -> None:
    with app_serving(head_s=0.1) as served:
        assert b"error" not in served.say(start)


def test_a_connection_that_is_kept_for_nothing() -> None:
    with app_serving(idle_s=1) as served:
        assert served.say(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_too_long_a_head(served: Served) -> None:
    said = served.say(b"GET /health HTTP/1.1\r\n", b"X-Long: " + b"x" * 4000)
    assert said.startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n"]
)
def test_garbage(served: Served, garbage: bytes) -> None:
    assert served.say(garbage).startswith(b"HTTP/1.1 400")
    assert served.told == []


def test_as_many_connections_as_are_allowed() -> None:
    with app_serving(connections=3) as served:
        silent = [served.connect() for _ in range(3)]
        assert served.say(b"GET /health HTTP/1.1\r\n\r\n") == b""
        silent.pop().close()
        for _ in range(100):
            if answered := served.say(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"):
                break
            time.sleep(0.02)
        assert answered.startswith(b"HTTP/1.1 200")
        for connection in silent:
            connection.close()


def test_requests_that_come_before_answers(served: Served) -> None:
    one = HEAD + b'Content-Length: 12\r\n\r\n{"events":3}'
    last = b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"
    said = served.say(one * 20 + last)
    assert (said.count(b"HTTP/1.1 200"), said.count(b"data: 2")) == (21, 20)


def test_what_the_server_does_wrong_is_told_where_it_runs(served: Served) -> None:
    answered = ask(served.url, prompt=None, stream=False, fail=True)
    assert answered.status == 500
    assert answered.json["error"] == {
        "message": "the server failed",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }
    [line] = served.told
    assert line.startswith(f"POST '{GENERATE}': RuntimeError: a secret of the server's (")
    served.told.clear()
    answered = ask(served.url, prompt=None, fail=True)
    assert (answered.status, answered.whole) == (200, False)
    assert len(served.told) == 1
    served.told.clear()
