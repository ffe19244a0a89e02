"""`bench compare`: what the measured tokens cost on every offer."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How a comparison is printed."""

    table = "table"
    json = "json"


def compare(
    results: Annotated[
        list[Path] | None, typer.Argument(metavar="RESULT", help="Result folders, or folders of them.")
    ] = None,
    offers: Annotated[
        list[str] | None,
        typer.Option("--offers", metavar="PATH", help="Offers to price: a file, a folder or an id; may be repeated."),
    ] = None,
    utilisation: Annotated[
        float, typer.Option(help="Mean load over the load that was measured, above 0 and at most 1.")
    ] = 1.0,
    allocation: Annotated[float, typer.Option(help="Share of the paid units that are allocated at all.")] = 1.0,
    availability: Annotated[float, typer.Option(help="Share of the time that the units are up.")] = 1.0,
    discount_rate: Annotated[float, typer.Option(help="A year, for prepaid contracts.")] = 0.10,
    price_ratio: Annotated[
        float | None,
        typer.Option(help="Price of an input over an output token; the two then share the hour."),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> int:
    """Join results to dated offers: dollars per million tokens, or why an offer cannot be compared.

    Where engines were asked the same, in process or behind a server, it also splits what lies between their latencies
    into engine, server and network.

    **Example:** `bench compare runs --offers configs/offers --utilisation 0.6`

    Without RESULT, everything under `runs`. Exit code 1 means that a result's verdict is invalid.
    """
    from bench.cli.output import plain, print_json
    from bench.comparison import compare_results
    from bench.decomposition import decompose_results
    from bench.economics.compare import Assumptions
    from bench.economics.cost import Loading
    from bench.offers.catalog import load_offers
    from bench.report.comparison import print_comparison
    from bench.report.decomposition import print_decomposition
    from bench.report.strategies import print_strategies
    from bench.results.result import scan
    from bench.strategies import compare_strategies

    found = scan(results or [Path("runs")])
    loading = Loading(utilisation=utilisation, allocation=allocation, availability=availability)
    assumptions = Assumptions(loading=loading, discount_rate=discount_rate, price_ratio=price_ratio)
    comparison = plain(compare_results(found, load_offers(offers or ()), assumptions))
    strategies = plain(compare_strategies(result.record for result in found))
    decomposition = plain(decompose_results(found))
    if as_json or form is Format.json:
        print_json({**comparison, "strategies": strategies, "decomposition": decomposition})
    else:
        print_comparison([plain(result.record) for result in found], comparison)
        print_strategies(strategies)
        print_decomposition(decomposition)
    return 0 if all(result.record.verdict.status == "valid" for result in found) else 1
