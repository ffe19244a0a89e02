"""`bench node`: what this machine is."""

from __future__ import annotations

from pathlib import Path
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


@app.command()
def compare(
    nodes: Annotated[
        list[Path],
        typer.Argument(metavar="NODE", help="What `bench node show --json` printed, a file a node; or result folders."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare nodes that are sold as the same: settings that differ, and measured figures that lie outside.

    **Example:** `bench node compare a.json b.json c.json d.json`
    """
    from bench.cli.output import plain, print_json
    from bench.fleet import read_fleet
    from bench.node.fleet import compare_fleet
    from bench.report.fleet import print_fleet

    skus = plain(compare_fleet(read_fleet(nodes)))
    if as_json:
        print_json({"skus": skus})
    else:
        print_fleet(skus)
