"""What the server around an engine is told, resolved before it listens."""

from __future__ import annotations

from dataclasses import dataclass, field

MIB = 2**20


@dataclass(frozen=True, slots=True)
class ServerSettings:
    model: str
    """What the model is called here."""
    places: int
    """Most generations inside at once, those that wait for the engine included."""
    api_key: str | None = field(default=None, repr=False)
    """What `Authorization: Bearer` must say; None asks for nothing."""
    request_s: float = 3600.0
    """Longest time from a request's head to the end of its answer."""
    drain_s: float = 60.0
    """How long answers may go on once the server was told to end."""
    body_s: float = 30.0
    """Longest time for a body to come."""
    body_bytes: int = 16 * MIB
    """Largest body: a prompt of a million tokens, as text or as ids."""
    bodies_bytes: int = 256 * MIB
    """Of all requests inside together."""
    head_s: float = 10.0
    """Longest time for a head to come, from its first byte or from the connection's begin."""
    head_bytes: int = 64 * 2**10
    idle_s: float = 75.0
    """How long a connection is kept between requests."""
    connections: int = 4096
    """Most at once; one beyond them is closed as soon as it is there."""
