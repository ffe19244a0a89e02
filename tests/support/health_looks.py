"""Made-up health tables: figures that are functions of the second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from bench.core.records import HealthRow
from bench.core.units import NS_PER_S

START_NS = 5 * NS_PER_S
"""When the runs of these tables begin."""
Figures: TypeAlias = Mapping[str, Callable[[int], float | None]]


def looks(device: str, seconds: int, figures: Figures) -> list[HealthRow]:
    """One look a second from the run's start on; each figure is a function of the second."""
    return [
        HealthRow(START_NS + second * NS_PER_S, device, name, value(second))
        for second in range(seconds + 1)
        for name, value in figures.items()
    ]
