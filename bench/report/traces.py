"""What a trace holds, on a terminal: tables of quantiles and two small plots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from bench.report.console import console
from bench.report.format import number

_SHOWN = ("p1", "p10", "p50", "p90", "p99", "p99.9")
_BLOCKS = " ▁▂▃▄▅▆▇█"


def print_formats(formats: Iterable[Mapping[str, Any]]) -> None:
    """One line a format: its name, what a row is, and whose data it is."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("format", "what it holds", "licence and source"):
        table.add_column(heading, overflow="fold")
    for one in formats:
        table.add_row(one["name"], one["about"], one["attribution"])
    console().print(table)


def print_trace(trace: Mapping[str, Any], path: str) -> None:
    """Everything `bench traces show` tells of one trace, from the same values as its JSON."""
    out = console()
    out.print(f"[bold]{trace['format']}[/bold]: {trace['rows']:,} rows, {trace['sessions']:,} sessions  ", end="")
    out.print(path, style="dim", markup=False, soft_wrap=True)
    out.print(trace["attribution"], style="dim", markup=False)
    for reason, rows in trace["left_out"].items():
        out.print(f"left out: {rows:,} rows, {reason}")
    out.print(_quantiles(trace))
    for line in (*_arrivals(trace["arrivals"]), *_reuse(trace["reuse"]), *_sub_agents(trace["sub_agents"])):
        out.print(line, soft_wrap=True)
    if trace["pictures"]:
        out.print(f"pictures: {trace['pictures']:,}")
    if trace["composition"] is not None:
        out.print(_composition(trace["composition"]))
    for line in _plots(trace):
        out.print(line, markup=False, soft_wrap=True)


def _quantiles(trace: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for heading in ("n", "mean", "CV", "min", *_SHOWN, "max"):
        table.add_column(heading, justify="right")
    lone = trace["turns"] is not None and trace["turns"]["max"] == 1
    rows = {
        "input tokens": trace["input_tokens"],
        "output tokens": trace["output_tokens"],
        "thinking share": trace["thinking_share"],
        "turns a session": None if lone else trace["turns"],
        "longest prompt of a session": None if lone else trace["peak_tokens"],
        "tokens to compute a turn": (trace["reuse"] or {}).get("uncached_tokens"),
        **{f"{name} delay, s": delay for name, delay in trace["delays_s"].items()},
    }
    for name, told in rows.items():
        if told is not None:
            values = (told["mean"], told["cv"], told["min"], *(told["quantiles"][rank] for rank in _SHOWN), told["max"])
            table.add_row(name, f"{told['n']:,}", *map(_figure, values))
    return table


def _composition(composed: Mapping[str, Any]) -> Table:
    """What the file says itself, beside what was drawn from it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    rate = composed["requests_per_s"]
    table.add_column(f"as published, {composed['clients']} clients")
    for heading in ("mean", "min", *_SHOWN, "max"):
        table.add_column(heading, justify="right")
    for name, told in composed["fields"].items():
        table.add_row(name, _figure(told["mean"]), "", *(_figure(told["quantiles"][rank]) for rank in _SHOWN), "")
    gaps = composed["client_window_gap_cv"]
    quantiles = (_figure(gaps["quantiles"][rank]) for rank in _SHOWN)
    table.add_row(
        "CV of a client's gaps", _figure(gaps["mean"]), _figure(gaps["min"]), *quantiles, _figure(gaps["max"])
    )
    lowest, highest = _figure(rate["min"]), _figure(rate["max"])
    table.add_row("requests a second", _figure(rate["mean"]), lowest, *("" for _ in _SHOWN), highest)
    return table


def _arrivals(arrivals: Mapping[str, Any] | None) -> Iterator[str]:
    if arrivals is None:
        yield "arrivals: the trace has no common clock"
        return
    yield (
        f"arrivals: {_figure(arrivals['requests_per_s'])} a second over {_figure(arrivals['span_s'])} s; "
        f"CV of the gaps {_figure(arrivals['gap_cv'])}, dispersion {_figure(arrivals['dispersion_1s'])} at 1 s and "
        f"{_figure(arrivals['dispersion_10s'])} at 10 s; at most {arrivals['peak_1s']:,} in 1 s and "
        f"{arrivals['peak_10s']:,} in 10 s"
    )
    if arrivals["out_of_order"]:
        yield f"arrivals out of order: {arrivals['out_of_order']:,}"


def _reuse(reuse: Mapping[str, Any] | None) -> Iterator[str]:
    if reuse is None:
        yield "reuse: prompts share nothing that the trace tells of"
        return
    blocks = "" if reuse["block_share"] is None else f", {reuse['block_share']:.2%} of the hashed blocks"
    yield (
        f"reuse under an infinite cache: {reuse['token_share']:.2%} of the prompt tokens"
        f"{blocks}; {reuse['compacted_turns']:,} turns were compacted or left their prefix"
    )


def _sub_agents(agents: Mapping[str, Any] | None) -> Iterator[str]:
    if agents is not None:
        yield (
            f"sub-agents: {agents['agents']:,} in {agents['sessions']:,} sessions, {agents['background']:,} in the "
            f"background; at most {_figure(agents['fan_out']['max'])} at once, turns p50 "
            f"{_figure(agents['turns']['quantiles']['p50'])}"
        )


def _plots(trace: Mapping[str, Any]) -> Iterator[str]:
    for name, counts in trace["histograms"].items():
        filled = [place for place, count in enumerate(counts) if count]
        if filled:
            first, last = filled[0], filled[-1]
            ends = f"{2 ** (first / 2):,.0f} to {2 ** ((last + 1) / 2):,.0f} tokens, half an octave a column"
            yield f"{name:>9}  {_bars(counts[first : last + 1])}  {ends}"
    if trace["arrivals"] is not None and len(trace["arrivals"]["per_bin"]) > 1:
        bins = trace["arrivals"]["per_bin"]
        yield f"{'arrivals':>9}  {_bars(bins)}  {trace['arrivals']['span_s'] / len(bins):,.0f} s a column"


def _bars(counts: Sequence[int]) -> str:
    highest = max(counts)
    # What is there at all must be seen: only 0 is blank.
    return "".join(_BLOCKS[-(-8 * count // highest)] for count in counts)


def _figure(value: float | None) -> str:
    whole = value is not None and float(value).is_integer()
    return f"{value:,.0f}" if whole else number(value, 4)
