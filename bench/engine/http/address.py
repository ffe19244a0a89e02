"""Where a server of OpenAI's API is: the parts of its base URL."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.core.server_url import ServerUrl

_VERSION = re.compile(r"/v\d+[a-z]*\d*(/|$)")
"""The part of a path that says an API's version: `/v1`, `/v1beta`."""


@dataclass(frozen=True)
class Address(ServerUrl):
    root: str
    """The path that the API's own paths follow: the URL's, with `/v1` where that has no version of an API."""

    @staticmethod
    def parse(base_url: str) -> Address:
        """Raises InputError for what is no URL of a server, or may hold a secret."""
        url = ServerUrl.read(base_url, where="engine.base_url", secrets="a key in the variable of api_key_env")
        path = url.path.rstrip("/")
        root = path if _VERSION.search(path) else f"{path}/v1"
        return Address(url.scheme, url.host, url.port, url.path, root)

    def __str__(self) -> str:
        return f"{self.origin}{self.root}"
