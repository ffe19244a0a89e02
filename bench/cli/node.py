"""`bench node`: what this machine is."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="What this machine is: processors, GPUs, sensors, software.")


@app.callback()
def _node() -> None:
    """What this machine is: processors, GPUs, sensors, software."""


@app.command()
def show(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Print the fingerprint that every result carries.

    **Example:** `bench node show --json`
    """
    from bench.cli.output import print_json
    from bench.hardware.datasheet import name_patterns
    from bench.node.show import describe_node
    from bench.report.console import print_node

    node = describe_node(name_patterns())
    if as_json:
        print_json(node)
    else:
        print_node(node)
