"""A soak on a terminal: what it came to, what moved, and when the engine was away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench.report.console import console
from bench.report.format import ABSENT, duration, headline, number

_STYLES = {"stable": "green", "unstable": "bold red", "undecided": "yellow"}
_MOST_OUTAGES = 20


def print_soak(report: Mapping[str, Any]) -> None:
    """`report` is as `--json` prints it."""
    out = console()
    soaked = report["soaked"]
    out.print(_figures(soaked))
    if soaked["outages"]:
        out.print()
        out.print(_outages(soaked["outages"]))
    out.print()
    for line in _lines(report):
        out.print(line, soft_wrap=True)
    out.print(report["folder"], style="dim", markup=False, soft_wrap=True)


def _figures(soaked: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in ("segments", "mean", "an hour", "interval", "shifts"):
        table.add_column(name, justify="right")
    named = {"output tok/s": soaked["output_tokens_per_s"]} | {
        f"J/token {scope}": figure for scope, figure in soaked["joules_per_output_token"].items()
    }
    for name, figure in named.items():
        slope = figure["trend_share_per_hour"]
        table.add_row(
            name,
            str(figure["mean"]["n"]),
            headline(figure["mean"]),
            _signed(slope["value"]),
            ABSENT if slope["low"] is None else f"{_signed(slope['low'])} to {_signed(slope['high'])}",
            _shifts(figure),
        )
    return table


def _shifts(figure: Mapping[str, Any]) -> str:
    if not figure["shifts_told"]:
        return ABSENT
    shifts = [f"{_signed(shift['change'])} at {_hours(shift['at_hours'])}" for shift in figure["shifts"]]
    return "\n".join(shifts) or "none"


def _outages(outages: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("outage at", "down", "starts"):
        table.add_column(name, justify="right")
    table.add_column("")
    for outage in outages[:_MOST_OUTAGES]:
        down = duration(outage["down_s"])
        table.add_row(
            duration(outage["at_s"]),
            down if outage["repaired"] else f"over {down}",
            str(outage["starts"]),
            escape(outage["failure"]),
        )
    return table


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    soaked = report["soaked"]
    stability = soaked["stability"]
    status = stability["status"]
    yield (
        f"[bold]{escape(report['name'])}[/bold]: [{_STYLES[status]}]{status}[/{_STYLES[status]}] over "
        f"{_hours(soaked['hours'])} ({_hours(report['hours_asked'])} asked), in {len(soaked['segments'])} segments"
    )
    for finding in stability["findings"]:
        yield f"[red]{finding['code']}[/red]: {escape(finding['message'])}"
    for question in stability["undecided"]:
        yield f"undecided: {escape(question)}"
    yield _availability(soaked)
    if soaked["time_to_recover_s"] is not None:
        recovered = sum(outage["repaired"] for outage in soaked["outages"])
        yield (
            f"time to recover: {duration(soaked['time_to_recover_s'])}, the median of {recovered}; "
            f"starts of the engine after the first: {soaked['restarts']}"
        )
    yield _hot_and_cold(soaked)
    yield _requests(soaked["requests"])
    for code, told in soaked["notes"].items():
        yield f"note {code} in {told['segments']} segments, first at {_hours(told['first_at_hours'])}: " + escape(
            told["message"]
        )
    if report["ended"] is None or report["resumed"]:
        yield f"times resumed: {report['resumed']}; ended: {escape(report['ended'] or 'cut off')}"


def _availability(soaked: Mapping[str, Any]) -> str:
    observed = soaked["availability"]
    low, high = (ABSENT if bound is None else f"{bound:.4%}" for bound in (observed["low"], observed["high"]))
    value = ABSENT if observed["observed"] is None else f"{observed['observed']:.4%}"
    return (
        f"availability: {value} observed, {low} to {high} at {observed['level']:.0%} ({escape(observed['method'])}); "
        f"up {duration(observed['up_s'])}, down {duration(observed['down_s'])} in {observed['outages']} "
        f"outages, neither for {duration(observed['unobserved_s'])}"
    )


def _hot_and_cold(soaked: Mapping[str, Any]) -> str:
    both = soaked["hot_and_cold"]
    settled = "" if both["plateau_c"] is None else f", settled at {number(both['plateau_c'])} °C"
    ratio = both["hot_over_cold"]
    told = "nothing to compare" if ratio is None else f"hot gives {_signed(ratio - 1)} output tok/s"
    return (
        f"hot and cold, by {both['by']}{settled}: {both['cold_segments']} cold and {both['hot_segments']} hot "
        f"segments, {told}; slope and shifts are of {soaked['compared']} segments"
    )


def _requests(requests: Mapping[str, Any]) -> str:
    failed = ", ".join(f"{count} {escape(kind)}" for kind, count in requests["failed"].items()) or "none failed"
    cut_off = requests["sent"] - requests["completed"] - sum(requests["failed"].values())
    rest = f", {cut_off:,} under way when a segment was cut off" if cut_off else ""
    return f"requests: {requests['sent']:,} sent, {requests['completed']:,} completed, {failed}{rest}"


def _hours(hours: float) -> str:
    return duration(3600 * hours)


def _signed(share: float | None) -> str:
    """A change as `+0.12%` or `-2,410%`."""
    if share is None:
        return ABSENT
    return f"{'-' if share < 0 else '+'}{number(float(f'{100 * abs(share):.3g}'))}%"
