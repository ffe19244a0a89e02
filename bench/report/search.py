"""A search for the highest load under an SLO: its probes, a line each, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench.report.console import console
from bench.report.turns import percent


def print_searches(searches: Sequence[Mapping[str, Any]]) -> None:
    """Each search as a table, and under it the answer. `searches` is as `--json` prints it."""
    out = console()
    for search in searches:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(search["axis"].partition(".")[2], justify="right")
        for name in ("good", "interval", "requests", "runs"):
            table.add_column(name, justify="right")
        table.add_column("")
        for probe in search["probes"]:
            table.add_row(*_cells(probe))
        out.print()
        out.print(table)
        for line in _answer(search):
            out.print(line, soft_wrap=True)


def _cells(probe: Mapping[str, Any]) -> list[str]:
    share = probe["good_share"]
    reused = f" ({probe['reused']} earlier)" if probe["reused"] else ""
    return [
        f"{probe['load']:g}",
        percent(share["value"]),
        f"{percent(share['low'])} to {percent(share['high'])}",
        f"{share['n']:,}",
        f"{len(probe['records'])}{reused}",
        probe["outcome"] if probe["decided"] else f"{probe['outcome']}, undecided",
    ]


def _answer(search: Mapping[str, Any]) -> Iterator[str]:
    slo = search["slo"]
    bounds = [f"{key} {value:g}" for key, value in slo.items() if key != "share" and value is not None]
    asked = f"{slo['share']:g} of the requests within {', '.join(bounds)}"
    met, missed, axis = search["meets"], search["misses"], search["axis"]
    found = "no load is known to meet it" if met is None else f"{axis} {met:g} meets it"
    beyond = "none is known to miss it" if missed is None else f"{missed:g} misses it"
    yield f"[bold]{escape(search['name'])}[/bold]: {found}, {beyond} ({asked})"
    if met is not None and missed is not None and not search["decided"]:
        yield "undecided: a share's interval holds the asked one, so an end of this bracket may lie on the other side"
    if search["out_of_order"]:
        loads = ", ".join(f"{load:g}" for load in search["out_of_order"])
        yield f"[yellow]out of order[/yellow]: {loads} met it though a lower load missed it"
    if search["ended"]:
        yield f"[red]ended early[/red]: {escape(search['ended'])}"
