"""What a rank of an all-reduce is told, and what it says."""

from __future__ import annotations

from typing import NamedTuple

LOOPBACK = "127.0.0.1"
EXCHANGES = 10
"""Of one size, timed together."""


class Join(NamedTuple):
    """What a rank is told."""

    rank: int
    size: int
    port: int
    """Of the store where ranks find one another, on the loopback interface."""
    backend: str
    device: str
    byte_sizes: tuple[int, ...]
    """Of the tensors, which are exchanged in turns."""
    seconds: float
    """Longest that ranks wait for one another."""


class Taken(NamedTuple):
    """What rank 0 says."""

    nbytes: int
    seconds: float
    """Of one exchange."""


class Failed(NamedTuple):
    """What a rank says last where it cannot go on."""

    line: str
