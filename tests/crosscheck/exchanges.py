"""One request as somebody saw it, whoever that was: a client, or the server it asked."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Exchange:
    """Times are nanoseconds on a clock of whoever saw it."""

    due_ns: float
    """When it should have been sent; when it was, where nobody tells."""
    sent_ns: float
    token_ns: tuple[float, ...]
    """Arrival of each chunk that holds tokens."""
    chunk_tokens: tuple[int, ...]
    """1 each where nobody tells."""
    prompt_tokens: int
    output_tokens: int
    opened_ns: float | None = None
    """Arrival of a chunk without a token before the first that has one, such as a chat's role; None: there was none."""
    closed_ns: float | None = None
    """Arrival of a chunk without a token after the last that has one, with the finish reason; None: there was none."""


@dataclass(frozen=True)
class Seen:
    """One run as its client tells it."""

    client: str
    exchanges: list[Exchange]
    """In the order of sending."""
    reported: dict[str, float]
    """The client's own figures, by the names in `definitions.METRICS`; what it does not report is missing."""
    seconds: float
    """How long the run took, as the client reports it."""


@dataclass(frozen=True)
class Habits:
    """What a server writes around the tokens of an answer, apart from them."""

    opens: bool
    """A chunk before the first token, as a chat's role."""
    closes: bool
    """A chunk after the last token, with the finish reason."""


@dataclass
class Cell:
    """One client on one server in one scenario: what it saw, and what the server did meanwhile."""

    seen: Seen
    truth: list[Exchange] = field(default_factory=list)
    """By the server's clock, in the order in which it read them."""
