"""A measured figure: what trials of one thing came to, or why there is nothing to tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Figure:
    """In the unit that stands in the figure's name; null, with the reason, where there was no trial."""

    value: float | None
    """The median of the trials."""
    low: float | None
    high: float | None
    """The quartiles: half of the trials lie between them. Both are the median where there was one trial."""
    n: int
    """Trials."""
    method: str | None = None
    """How it was measured, in words."""
    reason: str | None = None
    """Why it is null."""


def figure(values: Sequence[float], method: str) -> Figure:
    """The figure of what at least one trial said."""
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [values[0]]
    return Figure(median(values), low, high, len(values), method)


def rate(amount: float, seconds: Sequence[float], method: str) -> Figure:
    """The figure of `amount` a second, of trials that took so many seconds."""
    return figure([amount / one for one in seconds], method)


def absent(reason: str) -> Figure:
    return Figure(None, None, None, 0, reason=reason)
