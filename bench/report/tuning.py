"""What tuning found, and what it would try, as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench.report.console import console
from bench.report.format import ABSENT, number


def print_tuned(device: str, measurements: Path, problems: Sequence[Mapping[str, Any]]) -> None:
    """A line a problem: its best schedule, how long it takes, and what that gains."""
    table = _table("kernel", "problem", "best schedule")
    for name in ("p50 us", "p20 to p80", "of roofline", "rule of thumb"):
        table.add_column(name, justify="right")
    for one in problems:
        times = one["times"]
        table.add_row(
            one["kernel"],
            escape(listed(one["problem"])),
            escape(listed(one["config"])) if one["config"] else "none to measure",
            number(times and times["p50_us"]),
            f"{number(times['p20_us'])} to {number(times['p80_us'])}" if times else ABSENT,
            share(one["roofline_fraction"]),
            ABSENT if one["speedup"] is None else f"{one['speedup']:.2f}x as long",
        )
    out = console()
    out.print(table)
    out.print(f"{escape(device)}; every measurement is in {escape(str(measurements))}", style="dim", soft_wrap=True)


def print_planned(device: str, problems: Sequence[Mapping[str, Any]]) -> None:
    """A line a problem: how many schedules there are, and what becomes of them before any is launched."""
    table = _table("kernel", "problem")
    for name in ("settings", "make sense", "compiled", "refused", "to time"):
        table.add_column(name, justify="right")
    for one in problems:
        refused = (f"{count} {reason.replace('_', ' ')}" for reason, count in one["refused"].items())
        table.add_row(
            one["kernel"],
            escape(listed(one["problem"])),
            f"{one['settings']:,}",
            f"{one['allowed']:,}",
            str(one["compiled"]),
            ", ".join(refused) or "none",
            str(one["launched"]),
        )
    out = console()
    out.print(table)
    out.print(f"compiled for {escape(device)}; nothing was launched", style="dim")


def listed(values: Mapping[str, Any]) -> str:
    """The fields of a problem, or the knobs of a schedule."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def share(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.0%}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name)
    return table
