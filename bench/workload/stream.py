"""What a source of sessions hands over, whether it drew them or read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.core.records import Session

NO_OUTPUT = "no output tokens"
NO_PROMPT = "no prompt tokens"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Turns of the source that cannot be asked, and why."""

    reason: str
    turns: int


@dataclass(frozen=True, slots=True)
class SessionStream:
    """Sessions one by one, in the source's order and with its own token counts and delays.

    A segment key stands for the same tokens at the same place in every prompt that has it.
    """

    format: str
    attribution: str
    """Licence and whom to cite."""
    items: Iterator[Session | LeftOut]
    """May raise InputError where the source turns out to be broken."""
