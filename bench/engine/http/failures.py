"""Why a request failed, as a kind that is counted and the figures of this one request."""

from __future__ import annotations

import socket
import ssl

_SHOWN_CHARACTERS = 200


class ExchangeError(Exception):
    """A request that ended without a whole answer. `str` of it is what its record says."""

    def __init__(self, kind: str, figures: str = "", *, retry_after_s: float | None = None) -> None:
        """`retry_after_s`: what the server asked to wait before the request is sent again."""
        self.kind = kind
        self.retry_after_s = retry_after_s
        super().__init__(f"{kind}: {figures}" if figures else kind)


def connect_failure(error: OSError) -> ExchangeError:
    """Why no connection could be opened."""
    match error:
        case ConnectionRefusedError():
            return ExchangeError("refused", "nothing listens there")
        case ConnectionResetError():
            return ExchangeError("reset", "while the connection was opened")
        case ssl.SSLCertVerificationError():
            return ExchangeError("tls", one_line(error.verify_message or "the certificate is not trusted"))
        case ssl.SSLError():
            return ExchangeError("tls", one_line(error.reason or str(error)))
        case socket.gaierror():
            return ExchangeError("unresolved", one_line(error.strerror or str(error)))
    return ExchangeError("unreachable", one_line(error.strerror or str(error)))


def lost_failure(error: Exception | None, *, heard_bytes: int) -> ExchangeError:
    """Why a connection ended while an answer was awaited; `error` is None where the server closed it in good order."""
    figures = f"after {heard_bytes} bytes of an answer"
    if isinstance(error, ssl.SSLError):
        return ExchangeError("tls", f"{one_line(error.reason or str(error))}, {figures}")
    if error is not None or heard_bytes == 0:
        return ExchangeError("reset", figures)
    return ExchangeError("truncated", f"closed {figures}")


def one_line(text: str, secret: str | None = None) -> str:
    """`text` as a record may show it: one short line without `secret`."""
    if secret:
        text = text.replace(secret, "***")
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[: _SHOWN_CHARACTERS - 4]} ..."
