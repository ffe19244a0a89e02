"""What was measured beside the median node of its SKU, and what either costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench.report.console import console
from bench.report.format import headline, number, value_of

_Row = Mapping[str, Any]


def print_normalised(comparison: Mapping[str, Any]) -> None:
    """Nothing, where it was not asked for. `comparison` is as `--json` prints it."""
    if not comparison["normalised"]:
        return
    raw = {group["label"]: group for group in comparison["groups"]}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("at the median of its SKU", no_wrap=True, max_width=46)
    for name in ("tok/s", "at the median", "$/M output", "at the median"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for group in comparison["normalised"]:
        rates = group["rates"]
        table.add_row(
            escape(group["group"]),
            headline(raw[group["group"]]["output_tokens_per_s"]),
            headline(value_of(rates, "output_tokens_per_s")),
            "",
            "",
            group["basis"] or "not known",
            style="bold",
        )
        for row in comparison["rows"]:
            if row["group"] == group["group"] and row["at_median"] is not None:
                table.add_row(*_priced_cells(row, row["at_median"]))
    out = console()
    out.print()
    out.print(table)
    for line in _remarks(comparison["normalised"]):
        out.print(line, style="dim", markup=False, soft_wrap=True)
    out.print("latencies are those of the nodes that ran; what ranks is what was measured", style="dim")


def _priced_cells(row: _Row, at_median: _Row) -> list[str]:
    return [
        escape(f"  {row['offer']} ({row['term']})"),
        "",
        "",
        headline(row["usd_per_million_output_tokens"]),
        headline(at_median["usd_per_million_output_tokens"]),
        escape(at_median["basis"]),
    ]


def _remarks(groups: Sequence[_Row]) -> Iterator[str]:
    """What stands behind each group, and each reason for which there is nothing once."""
    for group in groups:
        yield from (f"{group['group']}: {line}" for line in _basis(group))
    unknown = Counter(group["why_not"] for group in groups if group["why_not"] is not None)
    for reason, count in unknown.items():
        yield f"{count} not known: {reason}"


def _basis(group: _Row) -> Iterator[str]:
    for node in group["nodes"]:
        yield (
            f"node {node['node']} {number(node['output_tokens_per_s'])} tok/s, {node['to_median']:.1%} of the median, "
            f"{node['runs']} run{'' if node['runs'] == 1 else 's'}"
        )
    for figure in group["figures"]:
        yield f"{figure['figure']} at {figure['own'] / figure['median']:.1%} of the median of {figure['nodes']} nodes"
    if (binding := group["binding"]) is not None:
        bound = f"bound by {group['bound_by']}" if group["bound_by"] else "neither is known to bind it"
        yield (
            f"memory was busy for {binding['memory']:.0%} of the window at least, processors for "
            f"{binding['compute']:.0%}: {bound}"
        )
