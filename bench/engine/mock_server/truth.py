"""When each request was read and each of its writes made: what a client's own times are held to."""

from __future__ import annotations

from array import array
from collections import deque
from typing import Any, Literal

import msgspec

Ended = Literal["done", "close", "reset", "stall", "left"]
"""How an answer came to its end: in full, closed, reset or silent as a fault has it, or left by the client."""

_MOST_KEPT = 500_000


class RequestTruth:
    """One request as the server saw it. Times are on the machine's monotonic clock."""

    __slots__ = (
        "ended",
        "fault",
        "number",
        "prompt_tokens",
        "request_id",
        "status",
        "t_end_ns",
        "t_received_ns",
        "writes",
    )

    def __init__(self, number: int, request_id: str | None, t_received_ns: int) -> None:
        self.number = number
        self.request_id = request_id
        self.t_received_ns = t_received_ns
        """When its last byte was read."""
        self.status = 200
        self.fault: str | None = None
        self.prompt_tokens = 0
        self.writes = array("q")
        """Of each write that held tokens its time and their number, alternating."""
        self.t_end_ns: int | None = None
        self.ended: Ended | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "request_id": self.request_id,
            "status": self.status,
            "fault": self.fault,
            "prompt_tokens": self.prompt_tokens,
            "tokens": sum(self.writes[1::2]),
            "t_received_ns": self.t_received_ns,
            "t_writes_ns": self.writes[::2].tolist(),
            "write_tokens": self.writes[1::2].tolist(),
            "t_end_ns": self.t_end_ns,
            "ended": self.ended,
        }


class TruthLog:
    """The latest requests; those beyond half a million are forgotten, oldest first, and counted."""

    def __init__(self) -> None:
        self._kept: deque[RequestTruth] = deque(maxlen=_MOST_KEPT)
        self.connections = 0
        self.requests = 0

    def begin(self, request_id: str | None, t_received_ns: int) -> RequestTruth:
        """The next request, numbered from 1."""
        self.requests += 1
        truth = RequestTruth(self.requests, request_id, t_received_ns)
        self._kept.append(truth)
        return truth

    def reset(self) -> None:
        """Begin again, with request 1."""
        self._kept.clear()
        self.connections = self.requests = 0

    def as_json(self) -> bytes:
        return msgspec.json.encode(
            {
                "clock": "CLOCK_MONOTONIC, nanoseconds",
                "connections": self.connections,
                "forgotten": self.requests - len(self._kept),
                "requests": [truth.as_json() for truth in self._kept],
            }
        )
