"""A base URL says where the server is, in any of the forms users write, and holds no secret."""

from __future__ import annotations

import pytest

from bench.core.errors import InputError
from bench.engine.http.address import Address


@pytest.mark.parametrize(
    ("written", "meant", "authority"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("https://api.example.com", "https://api.example.com/v1", "api.example.com"),
        ("https://api.example.com:443/openai/v1", "https://api.example.com/openai/v1", "api.example.com"),
        ("https://host/v1/openai", "https://host/v1/openai", "host"),
        ("https://host/v1beta/openai/", "https://host/v1beta/openai", "host"),
        ("https://host/dev1", "https://host/dev1/v1", "host"),
        ("http://[::1]:8000", "http://[::1]:8000/v1", "[::1]:8000"),
        (" http://HOST ", "http://host/v1", "host"),
    ],
)
def test_what_is_meant(written: str, meant: str, authority: str) -> None:
    address = Address.parse(written)
    assert str(address) == meant
    assert address.authority == authority


@pytest.mark.parametrize(
    "written",
    [
        *("", "127.0.0.1:8000", "ftp://host", "http://", "http://host:port", "http://host:0", "http://host:70000"),
        *(
            "http://host/?key=x",
            "http://host/#x",
            "http://[::1",
            "http://ho st",
            "http://host/a\r\nb: c",
            "http://hôst",
            "http://a..b",
            f"http://{'a' * 64}.b",
        ),
    ],
)
def test_what_is_refused(written: str) -> None:
    with pytest.raises(InputError, match=r"^engine\.base_url: "):
        Address.parse(written)


@pytest.mark.parametrize(
    "written",
    ["http://user:secret@host", "http://secret@host:1/v1", "http://u:secret\u2100@host", "http://host/v1?key=secret"],
)
def test_what_may_be_a_secret_is_refused_and_not_told(written: str) -> None:
    with pytest.raises(InputError) as refused:
        Address.parse(written)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "here"), [("127.0.0.1", True), ("[::1]", True), ("localhost", True), ("10.0.0.1", False), ("a.b", False)]
)
def test_which_hosts_are_this_machine(host: str, here: bool) -> None:
    assert Address.parse(f"http://{host}:80").loopback == here
