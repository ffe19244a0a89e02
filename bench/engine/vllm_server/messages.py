"""What passes between a run and the keeper of its server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from bench.engine.vllm_server.metrics import ServerMetrics


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the server and look after it."""

    command: tuple[str, ...]
    environment: dict[str, str]
    """All of its environment."""
    log: str
    """File that takes what it prints."""
    port: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Ask for its metrics now."""


@dataclass(frozen=True, slots=True)
class End:
    """End the server and all its processes."""

    grace_s: float
    """Until those that were asked to end are killed."""


@dataclass(frozen=True, slots=True)
class Begun:
    pid: int
    """Of the server, and of the group of its processes."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The server is ready, and what it says of itself."""

    version: str | None
    models: dict[str, int | None]
    """By name, the longest context."""


@dataclass(frozen=True, slots=True)
class Sampled:
    metrics: ServerMetrics | None
    """None where it told none."""
    asked: bool
    """Whether this answers a `Sample`; others come on their own."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The server and all its processes are gone."""

    code: int
    """As `Popen` has it."""


Order: TypeAlias = Begin | Sample | End
Report: TypeAlias = Begun | Answers | Sampled | Ended
