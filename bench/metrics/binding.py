"""What binds a run's steps: for how much of the window the machine's memory and its processors must have been busy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any, Literal

Resource = Literal["memory", "compute"]

_BUSY = 0.5
_AHEAD = 2.0
"""A resource is said to bind when it is busy for half of the window, and twice as long as the other."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Shares of the steady window that a resource takes at least, at the rates measured on the node."""

    memory: float
    compute: float

    @property
    def by(self) -> Resource | None:
        """The resource that binds, where it is clear."""
        if self.memory >= max(_BUSY, _AHEAD * self.compute):
            return "memory"
        return "compute" if self.compute >= max(_BUSY, _AHEAD * self.memory) else None


def binding(roofline: Mapping[str, Any] | None, window_s: float | None) -> Binding | None:
    """From the roofline section of a record; None where no rates of the node were measured beside its steps."""
    phases = [] if roofline is None else list(roofline["phases"].values())
    if not window_s or not phases or any("mbu_of_measured" not in phase for phase in phases):
        return None

    def busy(share: str) -> float:
        return min(1.0, fsum(phase["seconds"] * (phase[share]["value"] or 0.0) for phase in phases) / window_s)

    return Binding(memory=busy("mbu_of_measured"), compute=busy("mfu_of_measured"))
