"""Where a server is: the parts of its base URL."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.core.errors import InputError

_WHERE = "engine.base_url"
_ALLOWED = "http://HOST[:PORT][/PATH] or https://, without user, query or fragment"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """`root` is the path that the API's own paths follow; it ends in `/v1`."""

    scheme: str
    host: str
    port: int
    root: str

    @staticmethod
    def parse(base_url: str) -> Address:
        """Raises InputError for what is no URL of a server, or holds a password."""
        try:
            parts = urlsplit(base_url.strip())
            port = parts.port
        except ValueError as error:
            raise InputError(f"no URL: {error}", where=_WHERE, allowed=_ALLOWED) from None
        # What stands before an @ may be a password, so none of the URL is told.
        if parts.username is not None or parts.password is not None:
            raise InputError("holds a user or a password", where=_WHERE, allowed="a key in the variable of api_key_env")
        if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment:
            raise InputError(repr(base_url), where=_WHERE, allowed=_ALLOWED)
        if port == 0 or not (parts.hostname + parts.path).isascii() or any(c <= " " for c in parts.netloc + parts.path):
            raise InputError(repr(base_url), where=_WHERE, allowed=_ALLOWED)
        path = parts.path.rstrip("/")
        root = path if path.endswith("/v1") else f"{path}/v1"
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
