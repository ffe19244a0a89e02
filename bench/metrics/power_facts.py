"""Facts of a run's power that no table holds. Part of the record's `run` section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bench.core.power_figures import PowerFigures


@dataclass(frozen=True, slots=True)
class IdlePeriod:
    """When the engine was loaded and asked nothing, nanoseconds on the run's clock."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class PowerFacts:
    figures: PowerFigures | None = None
    """What the machine's datasheet says; None where it has none."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """By scope that no sensor was read of: why."""
    idle: IdlePeriod | None = None
    """None where it was not asked for, or nothing could be read."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """From plain values, as a record keeps them. Raises TypeError for others."""
        figures, idle = values.get("figures"), values.get("idle")
        rebuilt = {"figures": figures and PowerFigures.read(figures), "idle": idle and IdlePeriod(**idle)}
        return cls(**{**values, **rebuilt})
