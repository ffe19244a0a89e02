"""Without the key nothing but the health is told, and the key is in no answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from app_serving import Served, app_serving, request_head
from mock_serving import connect

KEY = "sk-a-key"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with app_serving(api_key=KEY) as served:
        yield served


def asked(served: Served, path: str, given: bytes | None, method: str = "GET") -> tuple[int, str | None, bytes]:
    connection = connect(served.url)
    connection.putrequest(method, path)
    if given is not None:
        connection.putheader("Authorization", given)
    connection.endheaders()
    response = connection.getresponse()
    return response.status, response.getheader("www-authenticate"), response.read()


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/openapi.json", "/version", "/nowhere"])
@pytest.mark.parametrize(
    "given",
    [None, b"", b"Bearer", b"Bearer ", b"Bearer sk-a-ke", b"Bearer sk-a-keyy", b"Basic sk-a-key", b"Bearer \xff\xfe"],
)
def test_nothing_without_the_key(served: Served, path: str, given: bytes | None) -> None:
    status, how, body = asked(served, path, given)
    assert (status, how) == (401, "Bearer")
    assert KEY.encode() not in body


def test_no_body_is_read_without_the_key(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(request_head(100_000))
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("given", [b"Bearer sk-a-key", b"bearer sk-a-key", b"Bearer  sk-a-key "])
def test_with_the_key(served: Served, given: bytes) -> None:
    status, _, description = asked(served, "/openapi.json", given)
    assert status == 200
    assert b'"scheme":"bearer"' in description
    assert KEY.encode() not in description


def test_health_is_told_to_everybody(served: Served) -> None:
    assert asked(served, "/health", None)[0] == 200


def test_the_key_does_not_show_where_settings_do() -> None:
    with app_serving(api_key=KEY) as served:
        assert KEY not in repr(served.app) + repr(served.http.config.http)
