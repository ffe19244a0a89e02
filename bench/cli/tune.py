"""`bench tune`: find the fastest schedule of each kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.core.axes import KvDtype, WeightFormat
from bench.core.errors import InputError

MEASUREMENTS = Path("runs/tuning")


def tune(
    kernels: Annotated[list[str] | None, typer.Argument(metavar="KERNEL", help="All of them if none is named.")] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Tune for what this model asks: a folder with a config.json, or a name; may be repeated. Without one, "
            "for a few problems of models that are shipped.",
        ),
    ] = None,
    batches: Annotated[
        list[int] | None, typer.Option("--batch", min=1, help="Requests of a decode step; may be repeated.")
    ] = None,
    weight_format: Annotated[WeightFormat, typer.Option(help="Of the models' projections.")] = "dense",
    kv_dtype: Annotated[KvDtype, typer.Option(help="Of the models' KV caches.")] = "auto",
    tensor_parallel: Annotated[int, typer.Option(min=1, help="Ranks the models are cut over.")] = 1,
    candidates: Annotated[int, typer.Option(min=1, help="Most schedules that are compiled for a problem.")] = 48,
    minutes: Annotated[float | None, typer.Option(min=0, help="Begin no problem after so long.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help=f"Measurements, a row each [default: {MEASUREMENTS}/DEVICE.jsonl]."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Launch nothing: say how many candidates make sense and compile. No GPU.")
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="The GPU to plan for, such as GB300.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="DIR", help="Measure nothing: write the winners into this folder's table of the device."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Measure nothing: draw shares of the roofline, .html or .png."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find the fastest schedule of each kernel on this machine's GPU, and keep every measurement.

    **Example:** `bench tune rms_norm --model qwen3-8b --minutes 10`, then
    `bench tune --export kernels/neokernels/tuned` and a review of what that changed.

    Candidates that spill, do not fit or do not compile are left out before any is launched; the others are timed in
    turns. An interrupted search goes on where it was. Engines only look schedules up, and their records say which.
    """
    if plan and (export or report):
        raise InputError("--plan", where="with --export or --report", allowed="either")
    if device is not None and not plan:
        raise InputError("--device", where="without --plan", allowed="with --plan: what is measured is this machine's")
    if export or report:
        _read_out(kernels or [], out, export, report, as_json)
        return

    from neokernels.tuning.search import Effort

    from bench.cli.output import plain, print_json
    from bench.core.configs import resolve
    from bench.native.model_config import ModelConfig
    from bench.native.model_shape import model_shape
    from bench.report.tuning import print_planned, print_tuned
    from bench.tune import default_database, jobs, planned_device, this_gpu
    from bench.tune import plan as plan_jobs
    from bench.tune import tune as tune_jobs

    shapes = [
        model_shape(
            ModelConfig.from_folder(resolve(model, "models", suffix="")),
            weight_format=weight_format,
            kv_dtype=kv_dtype,
            tensor_parallel=tensor_parallel,
            decode_batches=tuple(sorted(set(batches or ()))),
        )
        for model in models or ()
    ]
    work, effort = jobs(kernels or [], shapes), Effort(candidates=candidates)
    if plan:
        target = planned_device(device)
        planned = plain(list(plan_jobs(work, target, effort, minutes, _tell)))
        if as_json:
            print_json({"device": target.name, "problems": planned})
        else:
            print_planned(target.name, planned)
        return
    with this_gpu() as gpu:
        database = out or default_database(MEASUREMENTS, gpu.device.name)
        tuned = [plain(one.as_dict()) for one in tune_jobs(work, gpu, database, effort, minutes, _tell)]
    if as_json:
        print_json({"device": gpu.device, "measurements": database, "problems": tuned})
    else:
        print_tuned(gpu.device.name, database, tuned)


def _read_out(kernels: list[str], out: Path | None, export: Path | None, report: Path | None, as_json: bool) -> None:
    """What `--export` and `--report` make of the measurements there are."""
    from bench.cli.output import print_json
    from bench.report.roofline_chart import draw_roofline
    from bench.tune import default_database, measurements, shares
    from bench.tune import export as export_winners

    rows = measurements(out or default_database(MEASUREMENTS), kernels)
    told: dict[str, object] = {"device": rows[-1].device.name}
    if export is not None:
        file, count = export_winners(rows, export)
        told |= {"table": file, "winners": count}
    if report is not None:
        drawn = shares(rows)
        draw_roofline(report, rows[-1].device.name, drawn)
        told |= {"report": report, "problems": drawn}
    if as_json:
        print_json(told)
        return
    if export is not None:
        typer.echo(f"{told['winners']} winners of {told['device']} are in {told['table']}")
    if report is not None:
        typer.echo(f"{report} shows {told['device']}")


def _tell(line: str) -> None:
    typer.echo(line, err=True)
