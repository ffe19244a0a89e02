"""Where latency gaps between engines come from, a line for each percentile: the parts and what they add up to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.report.console import console
from bench.report.format import number

_Part = Mapping[str, Any]
_NAMES = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "itl_ms": "ITL", "e2e_ms": "E2E"}

_COLUMNS = ("engine", "server", "network", "harness")


def print_decomposition(decomposition: Mapping[str, Any]) -> None:
    """A table for each gap, and under it what must be known to read it. The argument is as `--json` prints it."""
    out = console()
    for gap in decomposition["gaps"]:
        out.print()
        out.print(f"{_title(gap)}, milliseconds", style="bold", soft_wrap=True)
        _print_gap(out, gap)
        for remark in _remarks(gap):
            out.print(remark, style="dim", soft_wrap=True)
    for left_out in decomposition["left_out"]:
        out.print(f"{left_out['case']} is in no gap: {escape(left_out['why'])}", style="dim", soft_wrap=True)


def _title(gap: Mapping[str, Any]) -> str:
    base, target = gap["base"], gap["target"]
    behind = f", which serves {gap['serves']}" if gap["serves"] else ""
    return f"{base['case']} ({base['engine']}) to {target['case']} ({target['engine']}{behind})"


def _print_gap(out: Console, gap: Mapping[str, Any]) -> None:
    lines = [(f"{_NAMES[name]} {rank}", of) for name, ranks in gap["latencies"].items() for rank, of in ranks.items()]
    told = [(name, of) for name, of in lines if of["gap_ms"]["value"] is not None]
    if not told:
        out.print(escape(lines[0][1]["gap_ms"]["method"]) if lines else "no percentile was asked for", style="dim")
        return
    parts_told = (part for _, of in told for part in of["parts"])
    sources = dict.fromkeys(map(_of, sorted(parts_told, key=lambda part: _COLUMNS.index(part["of"][0]))))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for column in (gap["base"]["engine"], *sources, "gap", gap["target"]["engine"]):
        table.add_column(column, justify="right", no_wrap=True)
    for name, of in told:
        parts = {_of(part): part for part in of["parts"]}
        cells = [
            _change(parts[source]["ms"], parts[source]["distinct"]) if source in parts else "" for source in sources
        ]
        whole = of["gap_ms"]
        table.add_row(name, number(of["base_ms"]["value"]), *cells, _change(whole), number(of["target_ms"]["value"]))
    out.print(table)


def _of(part: _Part) -> str:
    return " + ".join(part["of"])


def _change(stored: Mapping[str, Any], distinct: bool = True) -> str:
    """A difference with the wider side of its interval, marked where that holds 0 or there is none."""
    value, low, high = stored["value"], stored["low"], stored["high"]
    sign = "+" if value > 0 else ""
    width = "" if low is None or high is None else f" ±{number(max(high - value, value - low), 2)}"
    return f"{sign}{number(value)}{width}{' ' if distinct else '~'}"


def _remarks(gap: Mapping[str, Any]) -> Iterator[str]:
    base, twin, target = gap["base"], gap["twin"], gap["target"]
    asked = [one for one in (base, twin, target) if one is not None]
    engines: Sequence[Mapping[str, Any]] = list({one["engine"]: one for one in asked}.values())
    yield from _of_the_numbers(gap, engines)
    yield from _of_the_engines(gap, engines)
    for one in engines:
        if one["harness_ms"] is not None:
            told = _spread(one["harness_ms"])
            yield f"harness: our own process, from {one['engine']}'s stamp of a token to its arrival; {told}"
    if target["round_trip_ms"] is not None:
        yield f"network: the median round trip of requests that ask for no work; {_spread(target['round_trip_ms'])}"


def _of_the_numbers(gap: Mapping[str, Any], engines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "percentiles of the turns that all counted; ~: 0 lies in its interval, or it has none, so none was shown"
    if any(len(one["records"]) == 1 for one in engines):
        yield "an interval of one run holds nothing of what differs between runs: --set measure.repeats=3 does"
    if gap["closed_loop"]:
        yield "closed loop: a slower engine is also asked later, so these are parts of the latencies under this load"
    if gap["length_mode"] == "free":
        yield "lengths free: answers differ in length, and E2E with them"


def _of_the_engines(gap: Mapping[str, Any], engines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    precisions = {one["engine"]: one["precision"] for one in engines if one["engine"] not in ("mock", "endpoint")}
    if len(set(precisions.values())) > 1:
        yield f"precision differs, which is part of the gap: {_each(precisions)}"
    shares = {one["engine"]: f"{one['cached_share']:.0%}" for one in engines if one["cached_share"] is not None}
    if len(set(shares.values())) > 1:
        yield f"prompt tokens from a prefix cache differ, which is part of the gap: {_each(shares)}"
    forms = {one["engine"]: one["prompt"] for one in engines}
    if len(set(forms.values())) > 1:
        yield f"prompts differ in form, which is in the server's part: {_each(forms)}"
    if gap["target"]["engine"] == "endpoint":
        yield "of a server that was there already, settings, precision and weights are taken to be those of its engine"
    for name, (ours, theirs) in gap["differing"].items():
        yield f"{name} differs, which is in the server's part: {escape(f'{ours} in process, {theirs} served')}"
    if gap["remote"]:
        yield "the server may run on another machine: what that makes is in the server's part"


def _each(told: Mapping[str, str]) -> str:
    return ", ".join(f"{engine} {escape(what)}" for engine, what in told.items())


def _spread(percentiles: Mapping[str, Any]) -> str:
    """The percentiles that there are."""
    told = [f"{rank} {number(of['value'])}" for rank, of in percentiles.items() if of["value"] is not None]
    return f"{', '.join(told)} ms"
