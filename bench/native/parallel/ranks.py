"""Which of the processes that share a model one is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ranks:
    rank: int = 0
    size: int = 1
