"""What a datasheet says of the power around one accelerator, from which rungs that no sensor reads are modelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self


@dataclass(frozen=True, slots=True)
class PublishedWatts:
    """Of something with several accelerators, divided by their number."""

    low: float
    high: float
    """The same as `low` where one figure was published."""
    basis: Literal["published", "assumed"]
    source: str
    """Where it was published, and what of."""


@dataclass(frozen=True, slots=True)
class PowerFigures:
    """Watts of one accelerator, and of its equal share of what it stands in. None where nobody published one."""

    datasheet: str
    tdp_w: float
    node: PublishedWatts | None = None
    rack: PublishedWatts | None = None
    sensor_duty: float | None = None
    """Share of the time in which its own sensor of power looks; None where none is known to miss any."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """From plain values, as a record keeps them. Raises TypeError for others."""
        shares = {scope: values[scope] and PublishedWatts(**values[scope]) for scope in ("node", "rack")}
        return cls(**{**values, **shares})
