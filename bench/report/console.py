"""Results, comparisons and verifications as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bench.report.energy import energy_lines, joules, print_energy
from bench.report.format import headline, milliseconds, value_of
from bench.report.health import how_the_machine_fared
from bench.report.roofline import machine_and_model
from bench.report.turns import load_settings, what_the_turns_came_to

_LEAST_WIDTH = 160
"""Columns a table is laid out for; a narrower terminal breaks its lines, which is still read more easily than cells."""


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command what a reader that went away means: rich would exit with 1."""
        raise  # rich calls this while it handles the BrokenPipeError


def console() -> Console:
    terminal = _Terminal(highlight=False)
    wide = terminal.is_terminal and terminal.width >= _LEAST_WIDTH
    return terminal if wide else _Terminal(width=_LEAST_WIDTH, highlight=False)


def print_records(records: Sequence[Mapping[str, Any]], folders: Sequence[str]) -> None:
    """One line a record: what was measured, and whether it may be trusted."""
    table = _measured_table()
    for record in records:
        table.add_row(*_measured_cells(record))
    out = console()
    out.print(table)
    print_energy(out, records)
    for record, folder in zip(records, folders, strict=True):
        for line in remarks(record):
            out.print(line, style="dim", soft_wrap=True)
        out.print(folder, style="dim", markup=False, soft_wrap=True)


def _measured_table() -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case")
    for name in ("TTFT p50", "TTFA p50", "TPOT p50", "output tok/s", "goodput tok/s", "J/token"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    return table


def _measured_cells(record: Mapping[str, Any]) -> list[str | Text]:
    latency = record["latency"]
    return [
        record["case"]["spec"]["name"],
        *(milliseconds(value_of(latency, name, "p50")) for name in ("ttft_ms", "ttfa_ms", "tpot_ms")),
        headline(value_of(record["throughput"], "output_tokens_per_s")),
        headline(value_of(record["goodput"], "goodput_tokens_per_s")),
        joules(record["energy"]),
        verdict(record["verdict"]["status"]),
    ]


def remarks(record: Mapping[str, Any]) -> Iterable[str]:
    """What a reader of the numbers must know: scales, reasons against them, notes, and why joules are missing."""
    spec = record["case"]["spec"]
    name, workload = spec["name"], spec["workload"]
    yield (
        f"[bold]{name}[/bold]: {_counted(record['requests'])}; "
        f"lengths {workload['length_mode']}, token_scale {workload['token_scale']:g}, "
        f"time_scale {spec['load']['time_scale']:g}, idle gap cap {_seconds(workload['idle_gap_cap_s'])}"
        f"{load_settings(spec['load'])}"
    )
    for reason, turns in record["workload"]["left_out"].items():
        yield f"{turns:,} turns of the source left out: {escape(reason)}"
    for reason in record["verdict"]["reasons"]:
        yield f"[red]{reason['code']}[/red]: {escape(reason['message'])}"
    for note in record["verdict"]["notes"]:
        yield f"note: {escape(note['message'])}"
    yield from what_the_turns_came_to(record)
    yield from machine_and_model(record)
    yield from how_the_machine_fared(record)
    yield from energy_lines(record["energy"])


def _counted(requests: Mapping[str, Any] | None) -> str:
    if requests is None:
        return "requests not counted"
    return (
        f"{requests['counted']} of {requests['sent']} requests counted, "
        f"{requests['tokens']['prompt']:,} prompt and {requests['tokens']['output']:,} output tokens"
    )


def _seconds(value: float | None) -> str:
    return "off" if value is None else f"{value:g} s"


def verdict(status: str) -> Text:
    return Text(status, style="green" if status == "valid" else "bold red")


def print_verification(reports: Sequence[Any]) -> None:
    """One line a result, and one for each difference found."""
    out = console()
    for report in reports:
        out.print(
            f"{'[green]same[/green]' if report.ok else '[bold red]differs[/bold red]'}  {escape(str(report.path))}"
        )
        for difference in report.differences:
            out.print(
                f"    {difference.what}: stored {difference.stored}, recomputed {difference.recomputed}", markup=False
            )
