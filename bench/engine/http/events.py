"""Server-sent events: the data of each, from a body that is cut anywhere.

The format is the HTML standard's event stream, but for lines that end in a lone carriage return.
"""

from __future__ import annotations

from bench.engine.http.failures import ExchangeError

_LONGEST_LINE_BYTES = 16 * 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventSplitter:
    """Gives the data of an event with the piece that ends it, which is the one its blank line comes in."""

    __slots__ = ("_data", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, body: bytes) -> list[bytes]:
        """The data of each event that `body` completes. Raises ExchangeError for a line without an end."""
        if not self._rest and not self._data and body[:6] == b"data: " and body[-2:] == b"\n\n":
            # As nearly all pieces are: whole events of one line of data each, and nothing else.
            events = body[6:-2].split(b"\n\ndata: ")
            if body.count(b"\n") == 2 * len(events) and b"\r" not in body:
                return events
        return self._lines(body)

    def flush(self) -> list[bytes]:
        """What the end of the body leaves without its blank line."""
        return self._lines(b"\n\n") if self._rest or self._data else []

    def _lines(self, body: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + body).split(b"\n")
        if len(self._rest) > _LONGEST_LINE_BYTES:
            raise ExchangeError("garbage", f"a line of more than {_LONGEST_LINE_BYTES} bytes")
        events = []
        for line in lines:
            line = line.removesuffix(b"\r").removeprefix(_BYTE_ORDER_MARK)
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return events
