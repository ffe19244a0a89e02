"""Where a server is: the parts of a URL that a user wrote, of which none is a secret."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TypeGuard
from urllib.parse import urlsplit

from bench.core.errors import InputError

_ALLOWED = "http://HOST[:PORT][/PATH] or https://, without user, query or fragment"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class ServerUrl:
    scheme: str
    host: str
    port: int
    path: str

    @staticmethod
    def read(url: str, *, where: str, secrets: str) -> ServerUrl:
        """Raises InputError, at `where`, for what is no URL of a server, or may hold a secret: before an @, in a query.

        Of a URL that may hold one nothing is told. `secrets` says where users and keys belong instead.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError as error:
            why = "" if "@" in url else f": {error}"
            raise InputError(f"no URL{why}", where=where, allowed=_ALLOWED) from None
        if parts.username is not None or parts.password is not None:
            raise InputError("holds a user or a password", where=where, allowed=secrets)
        if parts.query or parts.fragment:
            raise InputError("holds a query or a fragment", where=where, allowed=_ALLOWED)
        if parts.scheme not in _PORTS or port == 0 or not _may_be(parts.hostname) or not _sendable(parts.path):
            # Of "user:password@host" the part before the colon is a scheme, and the rest a path.
            raise InputError("no URL" if "@" in url else repr(url), where=where, allowed=_ALLOWED)
        return ServerUrl(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], parts.path)

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port as a Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def loopback(self) -> bool:
        """Whether the server is known to run on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


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
