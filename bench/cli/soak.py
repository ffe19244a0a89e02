"""`bench node soak`: one case for hours."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.core.errors import EngineError, InputError

if TYPE_CHECKING:
    from bench.core.spec import Spec
    from bench.soak.run import Soak


def soak(
    hours: Annotated[float, typer.Option("--hours", metavar="N", help="How long to go on.", show_default=False)] = 0.0,
    minutes: Annotated[
        float, typer.Option("--minutes", metavar="M", help="And so many minutes.", show_default=False)
    ] = 0.0,
    load: Annotated[
        str | None, typer.Option("--load", metavar="SUITE", help="The suite with the case [default: soak].")
    ] = None,
    case: Annotated[
        str | None, typer.Option("--case", metavar="NAME", help="The case, of a suite that has several.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Override a setting of the case; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the soak's folder goes [default: runs].")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="SOAK", help="Go on with a soak that was cut off, and nothing else."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Run one case again and again for hours, start the engine again when it fails, and say whether anything moved.

    **Example:** `bench node soak --hours 8 --load smoke --case reasoning`

    Ctrl-C ends it with what there is, and `--resume SOAK` goes on. Exit code 0 means that it was stable, 1 that it was
    not or that too little was seen to say so, 3 that the engine did not come back.
    """
    from bench.cli.output import print_json
    from bench.report.soak import print_soak
    from bench.soak.run import INTERRUPTED, LOST

    if resume is not None:
        _refuse_others(hours=hours, minutes=minutes, load=load, case=case, set=sets, out=out)
        done = _resumed(resume)
    else:
        seconds = _seconds(hours, minutes)
        done = _soaked(_only_case(load or "soak", case, sets or ()), out or Path("runs"), seconds)
    report = {"folder": str(done.folder), **done.report.as_json()}
    if as_json:
        print_json(report)
    else:
        print_soak(report)
    if done.report.ended == INTERRUPTED:
        raise KeyboardInterrupt
    if done.report.ended == LOST:
        raise EngineError(f"{done.folder}: {LOST}")
    return 0 if done.report.soaked.stability.status == "stable" else 1


def _soaked(spec: Spec, out: Path, seconds: float) -> Soak:
    from bench.report.progress import LiveProgress
    from bench.soak.run import soak as run_soak

    with LiveProgress() as progress:
        return run_soak(spec, out, seconds=seconds, watch=progress, command=sys.argv)


def _resumed(folder: Path) -> Soak:
    from bench.report.progress import LiveProgress
    from bench.soak.run import resume

    with LiveProgress() as progress:
        return resume(folder, watch=progress, command=sys.argv)


def _only_case(suite: str, name: str | None, sets: Sequence[str]) -> Spec:
    from bench.core.suite import load_suite

    specs = load_suite(suite, sets=tuple(sets)).specs
    names = ", ".join(spec.name for spec in specs)
    chosen = [spec for spec in specs if name is None or spec.name == name]
    if not chosen:
        raise InputError(f"no case {name!r}", where=suite, allowed=names)
    if len(chosen) > 1:
        raise InputError(
            f"a soak is of one case, and here are {len(specs)}", where=suite, allowed=f"--case, of {names}"
        )
    return chosen[0]


def _seconds(hours: float, minutes: float) -> float:
    for name, value in (("--hours", hours), ("--minutes", minutes)):
        if not math.isfinite(value) or value < 0:
            raise InputError(f"{value:g}", where=name, allowed="a number from 0")
    if hours + minutes == 0:
        raise InputError("no time", where="--hours", allowed="--hours above 0, --minutes above 0, or --resume")
    return hours * 3600 + minutes * 60


def _refuse_others(**given: object) -> None:
    for name, value in given.items():
        if value:
            raise InputError(
                "given", where=f"--{name}", allowed="nothing beside --resume: the soak's log says the rest"
            )
