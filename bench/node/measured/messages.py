"""What the process that measures is told, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

from bench.node.measured.figure import Figure


@dataclass(frozen=True, slots=True)
class Job:
    seconds: float
    """For all of it, from when the process is ready."""
    folder: str
    """On the file system that is read."""
    done: frozenset[str]
    """Figures that an earlier process has told, or was lost with."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What will be measured, in its order."""

    names: tuple[str, ...]
    torch: str
    """Its version."""
    threads: int
    """That it computes with on the host."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What is measured now, and how long that is to take."""

    names: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    figures: dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Lost:
    """Said last: what was told is right, but this process can measure no more."""

    line: str


@dataclass(frozen=True, slots=True)
class Over:
    """Said last: everything was told."""


Report = Ready | Begun | Told
