"""Where a server is: the parts of its base URL."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TypeGuard
from urllib.parse import urlsplit

from bench.core.errors import InputError

_WHERE = "engine.base_url"
_ALLOWED = "http://HOST[:PORT][/PATH] or https://, without user, query or fragment"
_PORTS = {"http": 80, "https": 443}
_VERSION = re.compile(r"/v\d+[a-z]*\d*(/|$)")
"""The part of a path that says an API's version: `/v1`, `/v1beta`."""


@dataclass(frozen=True)
class Address:
    """`root` is the path that the API's own paths follow: the URL's, with `/v1` where that has no version of an API."""

    scheme: str
    host: str
    port: int
    root: str

    @staticmethod
    def parse(base_url: str) -> Address:
        """Raises InputError for what is no URL of a server, or may hold a secret: before an @, or in a query.

        Of a URL that may hold one nothing is told.
        """
        try:
            parts = urlsplit(base_url.strip())
            port = parts.port
        except ValueError as error:
            why = "" if "@" in base_url else f": {error}"
            raise InputError(f"no URL{why}", where=_WHERE, allowed=_ALLOWED) from None
        if parts.username is not None or parts.password is not None:
            raise InputError("holds a user or a password", where=_WHERE, allowed="a key in the variable of api_key_env")
        if parts.query or parts.fragment:
            raise InputError("holds a query or a fragment", where=_WHERE, allowed=_ALLOWED)
        if parts.scheme not in _PORTS or port == 0 or not _may_be(parts.hostname) or not _sendable(parts.path):
            raise InputError(repr(base_url), where=_WHERE, allowed=_ALLOWED)
        path = parts.path.rstrip("/")
        root = path if _VERSION.search(path) else f"{path}/v1"
        return Address(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], root)

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port as a Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether the server is known to run on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.root}"


def _may_be(host: str | None) -> TypeGuard[str]:
    """Whether a host could have this name: no look-up takes one of an empty label, or of one that is too long."""
    if not host or not _sendable(host):
        return False
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _sendable(text: str) -> bool:
    """Whether the head of a request can hold it."""
    return text.isascii() and text.isprintable() and " " not in text
