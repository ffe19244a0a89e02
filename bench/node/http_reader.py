"""Reading a meter over HTTP: GET and nothing else, from one server, bounded in time and in size."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.core.secret import Login
from bench.core.server_url import ServerUrl
from bench.node.facts import AbsentError

MeterErrorCode = Literal["timeout", "unreachable", "unauthorized", "redirected", "refused", "malformed", "no_power"]

_MOST_BYTES = 8 << 20
"""An exporter of 72 GPUs tells less than one."""
_LONGEST_PATH = 300
_MOST_REDIRECTS = 3
"""Some servers send a path to the same one with a slash."""


class MeterError(AbsentError):
    """A server did not tell its power. The text is the code, then what happened; neither holds a secret."""

    def __init__(self, code: MeterErrorCode, what: str) -> None:
        self.code: MeterErrorCode = code
        self.what = what
        super().__init__(f"{code}: {what}")


@dataclass(frozen=True)
class Access:
    """What it takes to ask a server."""

    url: ServerUrl
    timeout_s: float
    tls: ssl.SSLContext | None
    login: Login | None = field(default=None, repr=False)


class HttpReader:
    """Asks one server over a connection that is kept. To be closed."""

    def __init__(self, access: Access) -> None:
        # A quarter of a second, and only runs that name such a meter need it.
        import httpx2

        self._origin = access.url.origin
        self._timeout_s = access.timeout_s
        login = access.login
        self._http = httpx2.Client(
            auth=None if login is None else (login.user, login.password),
            verify=access.tls or False,  # without TLS there is nobody to trust
            timeout=access.timeout_s,
            trust_env=False,
            follow_redirects=True,
            max_redirects=_MOST_REDIRECTS,
            event_hooks={"request": [self._stay]},
        )
        self._here = httpx2.URL(self._origin).origin

    def close(self) -> None:
        self._http.close()

    def get(self, path: str) -> bytes:
        """The whole answer. Raises MeterError."""
        import httpx2

        if not path.startswith("/") or not path.isprintable() or len(path) > _LONGEST_PATH:
            raise MeterError("malformed", "the server names what is no path of its own")
        ends_s = time.monotonic() + self._timeout_s
        body = bytearray()
        try:
            with self._http.stream("GET", f"{self._origin}{path}") as answer:
                _refuse_status(path, answer.status_code)
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        raise MeterError("malformed", f"GET {path} is answered with more than {_MOST_BYTES >> 20} MiB")
                    if time.monotonic() > ends_s:
                        raise httpx2.ReadTimeout("")
                return bytes(body)
        except httpx2.TimeoutException:
            raise MeterError("timeout", f"GET {path} is not answered whole in {self._timeout_s:g} s") from None
        except httpx2.TooManyRedirects:
            raise MeterError("redirected", f"GET {path} is redirected again and again") from None
        except httpx2.NetworkError as error:
            raise MeterError("unreachable", f"GET {path}: {error or type(error).__name__}") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            # Its text may quote the server, and a server may quote what it was sent.
            raise MeterError("malformed", f"GET {path}: {type(error).__name__}") from None

    def _stay(self, request: Any) -> None:
        """Called before each request, so that none, with the password it carries, goes to another server."""
        if request.url.origin != self._here:
            raise MeterError("redirected", "to another server, which is not followed")


def _refuse_status(path: str, status: int) -> None:
    if status in (401, 403):
        raise MeterError("unauthorized", f"GET {path} is answered {status}")
    if status != 200:
        raise MeterError("refused", f"GET {path} is answered {status}")
