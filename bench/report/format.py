"""Numbers as a person reads them: few digits, an interval where there is one, never a 0 for what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ABSENT = "–"


def number(value: float | None, digits: int = 3) -> str:
    """`value` to `digits` significant digits, without exponent between 0.001 and a billion."""
    if value is None:
        return ABSENT
    if value != 0 and not 1e-3 <= abs(value) < 1e9:
        return f"{value:.{digits}g}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if value == 0 else f"{float(f'{value:.{digits}g}'):,}"


def headline(stored: Mapping[str, Any] | None, digits: int = 3) -> str:
    """A headline as `value ±n%` by its wider side, as `low to high` where only bounds are known, or as a dash."""
    if stored is None:
        return ABSENT
    value, low, high = stored["value"], stored["low"], stored["high"]
    if value is None:
        return ABSENT if low is None or high is None else f"{number(low, digits)} to {number(high, digits)}"
    if low is None or high is None or value == 0:
        return number(value, digits)
    share = max(high - value, value - low) / abs(value)
    return f"{number(value, digits)} ±{share:.0%}" if share >= 0.005 else f"{number(value, digits)} ±{share:.1%}"


def duration(seconds: float | None) -> str:
    """In seconds, minutes or hours, whichever is read easily."""
    if seconds is None:
        return ABSENT
    if seconds < 120:
        return f"{number(seconds)} s"
    return f"{number(seconds / 60)} min" if seconds < 7200 else f"{number(seconds / 3600)} h"


def milliseconds(stored: Mapping[str, Any] | None) -> str:
    """A headline's value in milliseconds, or a dash."""
    return ABSENT if stored is None or stored["value"] is None else f"{number(stored['value'])} ms"


def value_of(section: Mapping[str, Any] | None, *path: str) -> Any:
    """What stands at `path` in a record's section, or None where any part of the way is missing."""
    for key in path:
        if section is None:
            return None
        section = section.get(key)
    return section
