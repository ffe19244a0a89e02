"""What economics needs to know of a soak."""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.records import Headline
from bench.core.units import SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class ObservedAvailability:
    """How much of the time machines of one node class were up while a soak watched them."""

    soaks: tuple[str, ...]
    """Folders it was seen in."""
    value: float
    low: float | None
    high: float | None
    level: float
    method: str
    up_s: float
    down_s: float
    outages: int

    @property
    def headline(self) -> Headline:
        return Headline(self.value, self.low, self.high, self.level, self.method, self.outages, "measured")

    @property
    def mean_outage_h(self) -> float | None:
        return self.down_s / self.outages / SECONDS_PER_HOUR if self.outages and self.down_s > 0 else None
