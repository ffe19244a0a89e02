"""What each strategy bought, a line each: the axes that differ, the numbers, and their ratios to the baseline's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bench.report.console import console, verdict
from bench.report.format import ABSENT, headline, milliseconds, number

_Row = Mapping[str, Any]
_NOTHING = {"", ABSENT, "0", "0%", "(0%)"}
"""Cells that say nothing. A column of them is left out."""


def print_strategies(tables: Sequence[Mapping[str, Any]]) -> None:
    """Each table, and under it what must be known to read it. `tables` is as `--json` prints it."""
    out = console()
    for strategies in tables:
        rows = strategies["strategies"]
        table = Table(box=None, pad_edge=False, header_style="bold")
        columns = [[axis.partition(".")[2], *(_axis(row, axis) for row in rows)] for axis in strategies["axes"]]
        for name, *_ in columns:
            table.add_column(name, no_wrap=True)
        for name, cell in _CELLS:
            cells = [cell(row) for row in rows]
            if not {str(text) for text in cells} <= _NOTHING:
                table.add_column(name, justify="right", no_wrap=True)
                columns.append([name, *cells])
        for line in list(zip(*columns, strict=True))[1:]:
            table.add_row(*line)
        out.print()
        out.print(table)
        for remark in _remarks(strategies):
            out.print(remark, style="dim", soft_wrap=True)


def _axis(row: _Row, axis: str) -> str:
    """What was asked for, starred where something else came of it."""
    match row["axes"][axis]:
        case True:
            text = "on"
        case False | None:
            text = "off"
        case {"kind": kind, **others}:
            text = ", ".join([kind, *(f"{name} {value}" for name, value in others.items())])
        case value:
            text = str(value)
    return escape(f"{text}*" if axis in row["downgrades"] else text)


def _ratio(measured: _Row) -> str:
    if (ratio := measured["to_baseline"]) is None:
        return ""
    digits = 3 if ratio["value"] >= 1 else 2
    return f"x{number(ratio['value'], digits)}{' ' if ratio['distinct'] else '~'}"


def _percent(share: float | None) -> str:
    return ABSENT if share is None else f"{share:.0%}"


def _graphs(row: _Row, share: str) -> str:
    """A share of graphs, in brackets where it only would have been."""
    if (graphs := row["graphs"]) is None:
        return ABSENT
    told = _percent(graphs[share])
    return told if graphs["ran"] else f"({told})"


_CELLS: tuple[tuple[str, Callable[[_Row], str | Text]], ...] = (
    ("TTFT p50", lambda row: milliseconds(row["ttft_ms_p50"]["headline"])),
    ("", lambda row: _ratio(row["ttft_ms_p50"])),
    ("TPOT p50", lambda row: milliseconds(row["tpot_ms_p50"]["headline"])),
    ("", lambda row: _ratio(row["tpot_ms_p50"])),
    ("TPOT p90", lambda row: milliseconds(row["tpot_ms_p90"]["headline"])),
    ("tok/s", lambda row: headline(row["output_tokens_per_s"]["headline"])),
    ("", lambda row: _ratio(row["output_tokens_per_s"])),
    ("cached", lambda row: _percent(row["cached_share"])),
    ("prefill", lambda row: number(row["prefill_tokens_per_request"])),
    ("preempted", lambda row: number(row["preemptions"])),
    ("graphs", lambda row: _graphs(row, "share_of_steps")),
    ("padding", lambda row: _graphs(row, "padding_share")),
    ("drafts kept", lambda row: _percent(row["acceptance_rate"])),
    ("tok/step", lambda row: number(row["acceptance_length"])),
    ("", lambda row: "" if row["verdict"] == "valid" else verdict(row["verdict"])),
)


def _remarks(strategies: Mapping[str, Any]) -> Iterator[str]:
    rows: Sequence[_Row] = strategies["strategies"]
    if strategies["baseline"] is None:
        yield "no ratio: no strategy is valid"
    else:
        level = rows[0]["ttft_ms_p50"]["headline"]["level"]
        yield (
            f"x: against {strategies['baseline']}; ~: the {level:.0%} intervals overlap, so no difference was shown; "
            "cached: share of the prompt tokens; prefill: prompt tokens computed a turn"
        )
    unchecked = [row["case"] for row in rows if row["accuracy"] == "not_applicable"]
    if unchecked:
        whose = "all" if len(unchecked) == len(rows) else ", ".join(unchecked)
        yield f"speed only: the answers of {whose} were not checked"
    if any(len(row["records"]) == 1 for row in rows):
        yield "an interval of one run holds nothing of what differs between runs: --set measure.repeats=3 does"
    if any(row["graphs"] and not row["graphs"]["ran"] for row in rows):
        yield "(graphs), (padding): shares of the steps and of their tokens, had the device any graphs"
    for axis, reason in dict.fromkeys(item for row in rows for item in row["downgrades"].items()):
        yield f"* {axis}: {escape(reason)}"
