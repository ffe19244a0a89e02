"""Requests that go on for too long are ended and told so, and so are all of them when the server has to end."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from app_serving import SECONDS, Served, app_serving, heard, request_head
from mock_serving import ask
from waiting import soon

from bench.native.server.errors import ApiError

LONG = {"prompt": None, "events": 1000, "pause_s": 0.05}
ENDED = ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "the server is about to end", code="unavailable")


def emptied(served: Served) -> bool:
    """Whether every place is given back soon."""
    return soon(lambda: not served.places.taken)


def test_a_whole_answer_that_takes_too_long() -> None:
    with app_serving(request_s=0.5) as served:
        answered = ask(served.url, stream=False, **LONG)
        assert (answered.status, answered.json["error"]["code"]) == (504, "timeout")
        assert emptied(served)


def test_a_stream_that_takes_too_long_ends_with_the_reason() -> None:
    with app_serving(request_s=0.5) as served:
        answered = ask(served.url, **LONG)
        assert (answered.status, answered.whole) == (200, True)
        assert answered.events[0] == 0
        assert answered.events[-1]["error"]["message"] == "no end after 0.5 s"
        assert emptied(served)


def test_a_client_that_takes_nothing_holds_its_place_no_longer_than_others() -> None:
    with app_serving(request_s=0.3) as served, served.connect() as connection:
        body = json.dumps({"events": 10_000_000, "padding": 100_000, "stream": True}).encode()
        connection.sendall(request_head(len(body)) + body)
        assert soon(lambda: served.places.taken == 1)
        assert emptied(served)
        # It is told the reason if it takes that in time. This one does not, and its connection is closed.
        assert soon(lambda: not served.http.server_state.connections)
        assert b"no end after" not in heard(connection)


def test_a_client_that_leaves_gives_its_place_back() -> None:
    with app_serving() as served, served.connect() as connection:
        body = json.dumps({**LONG, "stream": True}).encode()
        connection.sendall(request_head(len(body)) + body)
        assert connection.recv(1000)
        assert served.places.taken == 1
        connection.close()
        assert emptied(served)


def test_the_end_of_all() -> None:
    with app_serving() as served, ThreadPoolExecutor() as threads:
        stream = threads.submit(ask, served.url, **LONG)
        assert soon(lambda: served.places.taken == 1)
        served.do(lambda: served.places.close(ENDED.message))
        served.do(lambda: served.app.deadlines.end_all(ENDED))
        assert stream.result(SECONDS).events[-1] == {
            "error": {
                "message": "the server is about to end",
                "type": "server_error",
                "param": None,
                "code": "unavailable",
            }
        }
        refused = ask(served.url, prompt=None)
        assert (refused.status, refused.json["error"]["code"]) == (503, "unavailable")
        assert emptied(served)
