"""One request and what came back for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from bench.engine.http.failures import ExchangeError

if TYPE_CHECKING:
    from bench.engine.http.connection import Connection


class Exchange(ABC):
    """A message to send, and its answer as stamped pieces of the body. Nothing of the body is read here."""

    __slots__ = (
        "bodies",
        "body_bytes",
        "connection",
        "deadline_ns",
        "failure",
        "headers",
        "heard_bytes",
        "heard_ns",
        "message",
        "reconnected",
        "stamps",
        "status",
    )

    def __init__(self, message: bytes, deadline_ns: int) -> None:
        self.message = message
        self.deadline_ns = deadline_ns
        """When it fails, however much of an answer there is."""
        self.connection: Connection | None = None
        """The one it is on, from when it is sent until it has ended."""
        self.reconnected = False
        """It met a kept connection that the server had closed, and was sent again on a fresh one."""
        self.restart()

    def restart(self) -> None:
        """Forget what came back, as before the message is sent once more."""
        self.failure: ExchangeError | None = None
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.stamps: list[int] = []
        """When each piece of `bodies` arrived."""
        self.bodies: list[bytes] = []
        self.body_bytes = 0
        self.heard_ns = 0
        """When it was sent, or its newest byte arrived."""
        self.heard_bytes = 0

    def header(self, name: bytes) -> str | None:
        """The first header of that lower-case name."""
        for key, value in self.headers:
            if key.lower() == name:
                return value.decode("latin-1")
        return None

    @abstractmethod
    def grew(self) -> None:
        """Pieces of a size worth reading are there; may be called again while they have not been taken."""

    @abstractmethod
    def ended(self) -> None:
        """The answer is whole, or `failure` says why it never will be. Called once, and nothing is added after it."""
