"""`bench offers`: what providers ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.verb import Verb
from bench.core.errors import InputError

app = typer.Typer(help="What providers ask: list, show and check dated offers.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
OFFER_HELP = "An offer file, a folder of them, or the id of a shipped offer."


@app.command("list", cls=Verb)
def list_offers(
    paths: Annotated[list[str] | None, typer.Argument(metavar="OFFER", help=OFFER_HELP)] = None,
    as_json: AsJson = False,
) -> None:
    """List offers; the shipped ones when none are named.

    **Example:** `bench offers list`
    """
    from bench.cli.output import print_json
    from bench.economics.describe import describe_offer
    from bench.offers.catalog import load_offers
    from bench.report.offers import print_offers

    offers = [describe_offer(offer) for offer in load_offers(paths or ())]
    if as_json:
        print_json(offers)
    else:
        print_offers(offers)


@app.command(cls=Verb)
def show(offer: Annotated[str, typer.Argument(metavar="OFFER", help=OFFER_HELP)], as_json: AsJson = False) -> None:
    """Show one offer: its terms, its effective price per unit-hour, its source.

    **Example:** `bench offers show microsoft-iren-gb300 --json`
    """
    from bench.cli.output import print_json
    from bench.economics.describe import describe_offer
    from bench.offers.catalog import load_offers
    from bench.report.offers import print_offer

    described = [describe_offer(one) for one in load_offers([offer])]
    if as_json:
        print_json(described[0] if len(described) == 1 else described)
    else:
        for one in described:
            print_offer(one)


@app.command(cls=Verb)
def check(
    paths: Annotated[list[str], typer.Argument(metavar="OFFER", help=OFFER_HELP)], as_json: AsJson = False
) -> None:
    """Check offer files: the first mistake is told with its place and what is allowed there.

    **Example:** `bench offers check my-quote.yaml`
    """
    from bench.cli.output import print_json
    from bench.offers.catalog import load_offers

    offers = load_offers(paths)
    if as_json:
        print_json({"valid": [offer.id for offer in offers]})
    else:
        typer.echo(f"{len(offers)} offer{'s' if len(offers) != 1 else ''} valid: {', '.join(o.id for o in offers)}")


@app.command("export-schema", cls=Verb)
def export_schema(
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write here instead of stdout.")] = None,
) -> None:
    """Print the JSON Schema of an offer file, for editors that complete and check YAML.

    **Example:** `bench offers export-schema --out offer.schema.json`
    """
    import json

    from bench.offers.offer import offer_json_schema

    text = json.dumps(offer_json_schema(), indent=1) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=out, allowed="a file") from error
