"""What being down costs on each offer, a line each: by the availability that soaks saw, and by the offer's SLA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench.report.console import console
from bench.report.format import ABSENT, duration, headline, number

_Row = Mapping[str, Any]


def print_stability(comparison: Mapping[str, Any]) -> None:
    """Nothing, where no soak was there. `comparison` is as `--json` prints it."""
    rows = [row for row in comparison["rows"] if row["stability"] is not None]
    if not rows:
        return
    out = console()
    out.print()
    for observed in _observed(comparison["groups"]):
        out.print(_told(observed), style="dim", markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case / offer, as available as seen", no_wrap=True, max_width=46)
    for name in ("promised", "$/M output", "after credit", "$ lost a month", "$ credited a month"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for case in dict.fromkeys(row["case"] for row in rows):
        table.add_row(escape(case), style="bold")
        for row in rows:
            if row["case"] == case:
                table.add_row(*_cells(row, row["stability"]))
    out.print(table)
    out.print(
        "availability as seen on this hardware, whatever ran and whoever offers it; lost: paid for hours that were "
        "down, by months of 730 hours; credited: in the mean of such months, "
        f"{comparison['assumptions']['claimed']:.0%} claimed, were every outage one that the SLA covers, which one "
        "that leaves the machine within reach is not",
        style="dim",
        soft_wrap=True,
    )


def _observed(groups: Sequence[_Row]) -> list[_Row]:
    """Each availability once."""
    told = {tuple(of["soaks"]): of for group in groups if (of := group["availability"]) is not None}
    return list(told.values())


def _told(observed: _Row) -> str:
    watched = duration(observed["up_s"] + observed["down_s"])
    low, high = (ABSENT if observed[end] is None else f"{observed[end]:.4%}" for end in ("low", "high"))
    outages = f"{observed['outages']} outage{'' if observed['outages'] == 1 else 's'}"
    return (
        f"available {observed['value']:.4%} of {watched} ({low} to {high}, {observed['level']:.0%}), "
        f"{outages}, by {', '.join(observed['soaks'])}; {observed['method']}"
    )


def _bounded(stored: _Row | None, availability: _Row) -> str:
    """A value and its bounds, which lie too far to either side for a share of it to be read."""
    if stored is None or stored["value"] is None:
        return headline(stored)
    if stored["low"] is not None:
        return f"{number(stored['value'])} ({number(stored['low'])} to {number(stored['high'])})"
    # Where nothing bounds availability from below, nothing bounds from above what it takes away.
    return f"{number(stored['value'])}{'' if availability['low'] else ' or more'}"


def _cells(row: _Row, stability: _Row) -> list[str]:
    credited = stability["expected_credit_usd_per_month"]
    availability = stability["availability"]
    return [
        escape(f"  {row['offer']} ({row['term']})"),
        ABSENT if stability["promised"] is None else f"{stability['promised']:.6g}",
        _bounded(stability["usd_per_million_output_tokens"], availability),
        _bounded(stability["usd_per_million_output_tokens_after_credit"], availability),
        _bounded(stability["usd_lost_per_month"], availability),
        _bounded(credited, availability),
        escape(stability["why_no_credit"] or credited["basis"]),
    ]
