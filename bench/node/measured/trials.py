"""Trials of one thing, repeated for as long as there is time, and what is measured one thing after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from bench.node.facts import AbsentError
from bench.node.measured.figure import Figure, absent

Measure = Callable[[float], Figure]
"""Gives a figure within about as many seconds as it is given.

Where it cannot, it raises AbsentError, or what a device, a disk or torch raised.
"""


@dataclass(frozen=True, slots=True)
class Step:
    """What gives its figures together."""

    names: tuple[str, ...]
    measure: Callable[[float], Mapping[str, Figure]]
    """As a `Measure`."""
    weight: float = 1.0
    """Of its share of the time."""

    def figures(self, seconds: float) -> dict[str, Figure]:
        """Every one of its figures, null with the reason where the time is over or it cannot be measured."""
        if seconds <= 0:
            return self.all_absent("the time was over before it could begin")
        try:
            return dict(self.measure(seconds))
        except (AbsentError, RuntimeError, MemoryError, OSError) as error:
            return self.all_absent(in_a_line(error))

    def all_absent(self, reason: str) -> dict[str, Figure]:
        return {name: absent(reason) for name in self.names}


def step(name: str, measure: Measure, weight: float = 1.0) -> Step:
    """Of one figure."""
    return Step((name,), partial(_named, name, measure), weight)


def repeated(trial: Callable[[], float], seconds: float) -> list[float]:
    """What trials say, after one that is not counted: one at least, and no further one that `seconds` have no room for.

    `seconds` begin with the call.
    """
    end = time.monotonic() + seconds
    trial()
    began = time.monotonic()
    said = [trial()]
    while (now := time.monotonic()) + (now - began) / len(said) < end:
        said.append(trial())
    return said


def in_a_line(error: BaseException) -> str:
    """What an error says first: torch adds where in its own code it arose, and a path is nobody else's business."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said.strip().partition("\n")[0] or type(error).__name__


def _named(name: str, measure: Measure, seconds: float) -> dict[str, Figure]:
    return {name: measure(seconds)}
