"""One table of what was measured and what it costs: each case, its offers cheapest first, then the rest and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.report.console import console, remarks, verdict
from bench.report.energy import joules, print_energy
from bench.report.format import ABSENT, headline, milliseconds, number, value_of

_SHOWN = 12
"""Most runs of a case that have a line each: a soak has hundreds."""
_MEASURED = ("TTFT p50", "TPOT p50", "tok/s")
_PRICED = ("$/unit-hour", "$/M output", "$/M total")


def print_comparison(records: Sequence[Mapping[str, Any]], comparison: Mapping[str, Any]) -> None:
    """The table, what must be known to read it, and the decision. Both arguments are as `--json` prints them."""
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case / offer", no_wrap=True, max_width=46)
    for name in _MEASURED:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("J/token", justify="right", max_width=16)
    for name in _PRICED:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for case in dict.fromkeys(_name(record) for record in records):
        runs = [record for record in records if _name(record) == case]
        for record in runs[:_SHOWN]:
            table.add_row(*_measured_cells(record), style="bold")
        if len(runs) > _SHOWN:
            table.add_row(f"… and {len(runs) - _SHOWN} more runs", style="dim")
        for row in comparison["rows"]:
            if row["case"] == case:
                table.add_row(*_priced_cells(row))
        table.add_row()
    unmet = [row for row in comparison["rows"] if row["group"] is None]
    for reason in sorted({row["why_not"] for row in unmet}):
        table.add_row(f"not comparable: {reason}", style="dim bold")
        for row in unmet:
            if row["why_not"] == reason:
                table.add_row(*_priced_cells(row), style="dim")
    out.print(table)
    print_energy(out, records)
    out.print()
    for record in _few_of_each_case(records):
        for line in remarks(record):
            out.print(line, style="dim", soft_wrap=True)
    _print_decision(out, comparison)


def _few_of_each_case(records: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    met: Counter[str] = Counter()
    for record in records:
        met[_name(record)] += 1
        if met[_name(record)] <= _SHOWN:
            yield record


def _name(record: Mapping[str, Any]) -> str:
    return str(record["case"]["spec"]["name"])


def _measured_cells(record: Mapping[str, Any]) -> list[Any]:
    latency = record["latency"]
    return [
        f"{_name(record)} on {record['node']['hardware']['key']}",
        milliseconds(value_of(latency, "ttft_ms", "p50")),
        milliseconds(value_of(latency, "tpot_ms", "p50")),
        headline(value_of(record["throughput"], "output_tokens_per_s")),
        joules(record["energy"]),
        *(["" for _ in _PRICED]),
        verdict(record["verdict"]["status"]),
    ]


def _priced_cells(row: Mapping[str, Any]) -> list[Any]:
    return [
        f"  {row['offer']}{escape(_term(row))}",
        *(["" for _ in _MEASURED]),
        "",
        _per_hour(row),
        headline(row["usd_per_million_output_tokens"]),
        headline(row["usd_per_million_total_tokens"]),
        _standing(row),
    ]


def _standing(row: Mapping[str, Any]) -> str:
    """What the dollars rest on, or why they do not rank; an offer without a case stands under its reason already."""
    if row["group"] is None:
        return ""
    if not row["comparable"]:
        return "invalid" if row["why_not"].startswith("invalid") else f"not comparable: {row['why_not']}"
    billed = "" if row["used"] == row["billed"] else f", billed {row['billed']} for {row['used']}"
    per_answer = row["usd_per_correct_answer"]
    answers = "" if value_of(per_answer, "value") is None else f", ${headline(per_answer)} a correct answer"
    return f"{row['basis']}{billed}{answers}"


def _term(row: Mapping[str, Any]) -> str:
    """What tells two terms of one offer apart; on demand, and the names of models, go without saying."""
    term = str(row["term"] or "").removeprefix("on_demand").removeprefix(", ")
    short = term.split(",")[0] if row["unit"] == "token" else term
    return f" ({short})" if short else ""


def _per_hour(row: Mapping[str, Any]) -> str:
    price = row["usd_per_unit_hour"]
    return ABSENT if price is None else f"{headline(price)}/{'GPU' if row['unit'] == 'accelerator' else row['unit']}"


def _print_decision(out: Console, comparison: Mapping[str, Any]) -> None:
    out.print()
    out.print(f"Assumed: {', '.join(_assumptions(comparison['assumptions']))}", style="dim", markup=False)
    for banner in dict.fromkeys(of["decision"]["banner"] for of in comparison["decision"]["by_key"]):
        if banner is not None:
            out.print(banner, style="bold yellow")
    for of in comparison["decision"]["by_key"]:
        out.print(f"{', '.join(of['cases'])}: {of['decision']['text']}", markup=False)


def _assumptions(assumed: Mapping[str, Any]) -> Iterator[str]:
    for name, share in assumed["loading"].items():
        yield f"{name} {share:g}"
    yield f"discount rate {assumed['discount_rate']:g} a year"
    if (ratio := assumed["price_ratio"]) is None:
        yield "the whole hour charged to each kind of token"
    else:
        yield f"input priced at {number(ratio)} of output"
