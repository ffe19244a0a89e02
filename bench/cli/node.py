"""`bench node`: what this machine is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.soak import soak
from bench.cli.verb import Verb
from bench.core.errors import InputError

RESULTS = Path("runs")

app = typer.Typer(help="What this machine is: processors, GPUs, sensors, software.")


@app.callback()
def _node() -> None:
    """What this machine is: processors, GPUs, sensors, software."""


@app.command(cls=Verb)
def show(
    measure: Annotated[
        bool, typer.Option("--measure", help="Also measure how fast memory, disk, processors and GPUs are.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(min=1, max=600, help="For what is measured; starting takes more [default: 60].")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the JSON document here too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print the fingerprint that every result carries, and measure what no fingerprint tells.

    **Example:** `bench node show --measure --out node.json`

    A figure is the median of its trials, with the quartiles. The disk is that of the folder of FILE, or of `runs`. What
    is measured on a machine that does something else besides is measured of less than that machine.
    """
    import json

    from bench.cli.output import plain, print_json
    from bench.hardware.datasheet import name_patterns
    from bench.node.show import describe_node
    from bench.report.measured import print_measured
    from bench.report.node import print_node
    from bench.results.folder import told

    if seconds is not None and not measure:
        raise InputError("--seconds", where="without --measure", allowed="with --measure, whose time it is")
    _check_place(out)
    folder = RESULTS if out is None else out.parent
    node = plain(describe_node(name_patterns(), {"results": folder}))
    measured = _measure(seconds or 60.0, folder) if measure else {}
    if out is not None:
        with told(out):
            out.write_text(json.dumps(node | measured, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if as_json:
        print_json(node | measured)
    else:
        print_node(node)
        if measured:
            print()
            print_measured(**measured)


@app.command(cls=Verb)
def record(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, of JSON lines.")],
    seconds: Annotated[float, typer.Option(min=1, max=600, help="For how long meters and health are read.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Record what NVIDIA's driver answers to a run, call by call, to be replayed where there is no GPU.

    **Example:** `bench node record h100.jsonl --seconds 30`

    UUIDs are written as pseudonyms, and serial numbers are not written.
    """
    from bench.cli.output import print_json
    from bench.node.nvml_recording import record_node

    recorded = record_node(file, seconds)
    if as_json:
        print_json(recorded)
    else:
        gpus = ", ".join(recorded.gpus)
        print(f"{file}: {recorded.calls} calls in {recorded.seconds:g} s on {len(recorded.gpus)} GPUs ({gpus})")


def _measure(seconds: float, folder: Path) -> dict[str, Any]:
    from bench.cli.output import plain
    from bench.node.measured.measuring import measure
    from bench.report.measured import figure_line

    def tell(name: str, figure: object) -> None:
        typer.echo(figure_line(name, plain(figure)), err=True)

    typer.echo(f"measuring for {seconds:g} s", err=True)
    told: dict[str, Any] = plain(measure(seconds, folder, tell).as_dict())
    return told


def _check_place(out: Path | None) -> None:
    """Before a minute is spent on what could then not be written."""
    if out is None:
        return
    if not out.parent.is_dir():
        raise InputError("no such folder", where=out.parent, allowed="a folder that is there")
    if os.path.isdir(out) or not os.access(out if os.path.exists(out) else out.parent, os.W_OK):
        raise InputError("cannot be written", where=out, allowed="a file")


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


app.command(name="soak", cls=Verb)(soak)
