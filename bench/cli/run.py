"""`bench run`: measure every case of a suite."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.offers.offer import Offer
    from bench.results.result import Result
    from bench.search import Search


def run(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite: a YAML file, or a name such as `smoke`.")],
    trace: Annotated[
        str | None, typer.Option("--trace", metavar="FILE", help="Replay this trace instead of the suite's workloads.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Override a setting of every spec; may be repeated."),
    ] = None,
    offers: Annotated[
        list[str] | None,
        typer.Option("--offers", metavar="PATH", help="Also price the results: an offer file, a folder or an id."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where result folders go.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Measure every case of a suite and write one result folder each.

    **Example:** `bench run smoke --trace conversations.csv --set load.concurrency=16`

    Exit code 1 means that a result's verdict is invalid, or that a search ended without its answer.
    """
    from bench.core.suite import load_suite
    from bench.report.progress import LiveProgress
    from bench.search import run_and_search

    resolved = load_suite(suite, sets=tuple(sets or ()), trace=trace)
    priced = _load_offers(offers) if offers else None
    with LiveProgress() as progress:
        results, found = run_and_search(resolved, out, watch=progress, command=sys.argv)
    _tell(results, found, priced, as_json=as_json)
    probes = {record for search in found for probe in search.probes for record in probe.records}
    valid = all(result.record.verdict.status == "valid" or result.record.id in probes for result in results)
    return 0 if valid and not any(search.ended for search in found) else 1


def _load_offers(paths: Sequence[str]) -> tuple[Offer, ...]:
    from bench.offers.catalog import load_offers

    return load_offers(paths)


def _tell(results: Sequence[Result], found: Sequence[Search], priced: Sequence[Offer] | None, *, as_json: bool) -> None:
    """Print what was measured. What that takes is imported only now: no first turn is to wait for it."""
    from bench.cli.output import plain, print_json
    from bench.comparison import compare_results
    from bench.economics.compare import Assumptions
    from bench.report.comparison import print_comparison
    from bench.report.console import print_records
    from bench.report.search import print_searches
    from bench.report.strategies import print_strategies
    from bench.strategies import compare_strategies

    records = [plain(result.record) for result in results]
    folders = [str(result.path) for result in results]
    comparison = None if priced is None else plain(compare_results(results, priced, Assumptions()))
    strategies = plain(compare_strategies(result.record for result in results))
    searches = plain(found)
    if as_json:
        print_json(
            {
                "records": records,
                "folders": folders,
                "strategies": strategies,
                "searches": searches,
                "comparison": comparison,
            }
        )
    else:
        if comparison is None:
            print_records(records, folders)
        else:
            print_comparison(records, comparison)
        print_strategies(strategies)
        print_searches(searches)
