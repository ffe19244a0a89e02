"""`bench compare`: what the measured tokens cost on every offer."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.core.errors import InputError


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
    soaks: Annotated[
        list[Path] | None,
        typer.Option(
            "--soak", metavar="DIR", help="Also reckon with a soak that is not below RESULT; may be repeated."
        ),
    ] = None,
    claimed: Annotated[float, typer.Option(help="Share of the credits due by an SLA that is claimed.")] = 1.0,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Also show every case at the median node of its SKU.")
    ] = False,
    fleet: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="With --normalise: a node, by `bench node show --measure`; may be repeated."),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> int:
    """Join results to dated offers: dollars per million tokens, or why an offer cannot be compared.

    Where engines were asked the same, in process or behind a server, it also splits what lies between their latencies
    into engine, server and network. Where a soak of the same hardware is below RESULT, or given, it says what being
    down costs and what the offer's SLA is expected to credit.

    **Example:** `bench compare runs --offers configs/offers --utilisation 0.6`

    Without RESULT, everything under `runs`. Exit code 1 means that a result's verdict is invalid.
    """
    from bench.cli.output import plain, print_json
    from bench.comparison import Known, compare_results
    from bench.decomposition import decompose_results
    from bench.economics.compare import Assumptions
    from bench.economics.cost import Loading
    from bench.fleet import read_fleet
    from bench.observed_availability import observed_availability, reported_soaks_below, without_segments
    from bench.offers.catalog import load_offers
    from bench.report.comparison import print_comparison
    from bench.report.decomposition import print_decomposition
    from bench.report.normalised import print_normalised
    from bench.report.stability import print_stability
    from bench.report.strategies import print_strategies
    from bench.results.result import scan
    from bench.strategies import compare_strategies

    if fleet and not normalise:
        raise InputError("--fleet", where="without --normalise", allowed="with --normalise, which needs it")
    paths = results or [Path("runs")]
    found = without_segments(scan(paths), paths)
    loading = Loading(utilisation=utilisation, allocation=allocation, availability=availability)
    assumptions = Assumptions(loading, discount_rate, price_ratio, claimed)
    # An availability that is assumed stands for what soaks among the results would say.
    beside = reported_soaks_below(paths) if availability == 1 else ()
    known = Known(observed_availability(soaks or (), beside), read_fleet(fleet or ()))
    comparison = plain(compare_results(found, load_offers(offers or ()), assumptions, known, normalise=normalise))
    strategies = plain(compare_strategies(result.record for result in found))
    decomposition = plain(decompose_results(found))
    if as_json or form is Format.json:
        print_json({**comparison, "strategies": strategies, "decomposition": decomposition})
    else:
        print_comparison([plain(result.record) for result in found], comparison)
        print_normalised(comparison)
        print_stability(comparison)
        print_strategies(strategies)
        print_decomposition(decomposition)
    return 0 if all(result.record.verdict.status == "valid" for result in found) else 1
