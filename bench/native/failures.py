"""Why the engine gave up on one request while it went on serving the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FailureKind = Literal[
    "empty_request",
    "context_exceeded",
    "kv_pool_exceeded",
    "unknown_token",
    "not_a_number",
    "out_of_memory",
]


@dataclass(frozen=True, slots=True)
class Failure:
    """A typed failure of one request; its text begins with its kind, so that failures can be counted by it."""

    kind: FailureKind
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"
