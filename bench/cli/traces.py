"""`bench traces`: what recorded traffic holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.verb import Verb

app = typer.Typer(help="Recorded traffic: the formats that are read, and what a file of one holds.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("list", cls=Verb)
def list_formats(as_json: AsJson = False) -> None:
    """List the trace formats; a file's is told from its content.

    **Example:** `bench traces list`
    """
    from bench.cli.output import print_json
    from bench.report.traces import print_formats
    from bench.workload.traces.importer import FORMATS

    formats = [
        {"name": one.name, "about": one.about, "attribution": one.attribution, "drawn": one.drawn} for one in FORMATS
    ]
    if as_json:
        print_json(formats)
    else:
        print_formats(formats)


@app.command(cls=Verb)
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A trace, plain, .gz or .zst.")],
    model: Annotated[
        str | None,
        typer.Option(help="Model whose tokenizer counts texts; without one, four characters are a token."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of formats that sessions are drawn from.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show what a trace holds: lengths, arrivals, turns, reuse of prefixes, delays.

    **Example:** `bench traces show AzureLLMInferenceTrace_conv.csv`
    """
    from bench.cli.output import plain, print_json
    from bench.report.traces import print_trace
    from bench.workload.statistics.describe import describe_trace

    described = plain(describe_trace(file, model=model, seed=seed))
    if as_json:
        print_json({"file": str(file), **described})
    else:
        print_trace(described, str(file))
