"""What the parts of an offer file have in common: bounded amounts, and where a figure stands."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from bench.core.section import Section

Confidence = Literal["high", "medium", "low"]

# The upper bounds are beyond every offer there can be, and within what dates and float64 can reckon with.
Day = Annotated[date, Field(strict=True, le=date(2999, 12, 31))]
Months = Annotated[int, Field(gt=0, le=1200)]
Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
Text = Annotated[str, Field(min_length=1)]
Amount = Annotated[Decimal, Field(gt=0, le=Decimal(10) ** 15)]
TokenPrice = Annotated[Decimal, Field(ge=0, le=Decimal(10) ** 15)]
Share = Annotated[Decimal, Field(gt=0, le=1)]


class Source(Section):
    """Where the figures stand, so that a reader can check them."""

    text: Text
    url: Text | None = None
    commit: Text | None = None
    """Commit or release of the file the figure was read from, where it has one."""
    read: Day
    published: Day | None = None
    """The source's own date; null where it shows none."""
