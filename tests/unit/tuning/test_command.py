"""`bench tune` from the command line to the file that engines look schedules up in, on the simulated device."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.table import load_table

import bench.tune

Bench = Callable[..., Any]


@pytest.fixture
def timer(simulated: Any) -> Any:
    """Of the simulated device; a test may make it another before it runs a command."""
    return simulated.SimulatedTimer(time_us=simulated.noisy(0.01))


@pytest.fixture(autouse=True)
def machine(simulated: Any, timer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated device for this machine's, and its one kernel; runs go to an empty folder."""

    @contextmanager
    def this_gpu() -> Iterator[bench.tune.Workbench]:
        yield bench.tune.Workbench(
            timer, simulated.SimulatedCompiler(), simulated.MEASURED_DEVICE, simulated.STACK, simulated.CEILINGS
        )

    monkeypatch.setattr("bench.tune.this_gpu", this_gpu)
    monkeypatch.setattr("bench.tune.catalogue", lambda: {"twice": simulated.TWICE})
    monkeypatch.chdir(tmp_path)


def test_tune_export_and_look_up(bench: Bench, simulated: Any) -> None:
    tuned = bench("tune", "twice", "--json").json
    assert [one["problem"]["rows"] for one in tuned["problems"]] == [64, 1024]
    assert {json.dumps(one["config"]) for one in tuned["problems"]} == {json.dumps(dict(simulated.FASTEST))}
    assert all(1.2 < one["speedup"] < 1.4 for one in tuned["problems"])
    assert tuned["measurements"] == "runs/tuning/simulated-gpu-80gb.jsonl"

    exported = bench("tune", "--export", "tuned", "--json").json
    assert exported == {"device": simulated.DEVICE.name, "table": "tuned/simulated-gpu-80gb.json", "winners": 2}
    schedules = Schedules(simulated.DEVICE, load_table(Path(exported["table"]), simulated.DEVICE))
    for rows in (64, 128, 2):
        schedules.config(simulated.TWICE, simulated.Rows(rows, 4096))
    assert [look_up.origin for look_up in schedules.look_ups] == ["tuned", "nearest", "heuristic"]


def test_table_says_what_tuning_gains(bench: Bench, simulated: Any) -> None:
    ran = bench("tune", "--model", "qwen3-0.6b", "--batch", 4)
    assert ran.code == 0
    [line] = [line for line in ran.out.splitlines() if "rows=4," in line]
    assert "twice" in line
    assert "width=1024" in line
    assert "BLOCK=128, num_warps=2" in line
    assert "x as long" in line
    assert ran.err.splitlines()[0].startswith("[1/4] twice: rows=4, width=1024: ")


def test_second_run_measures_nothing(bench: Bench, timer: Any) -> None:
    first = bench("tune", "--json").json
    sampled = len(timer.sampled)
    assert bench("tune", "--json").json == first
    assert len(timer.sampled) == sampled


def test_out_of_time_says_what_is_left(bench: Bench, timer: Any) -> None:
    ran = bench("tune", "--minutes", 0, "--json")
    assert (ran.code, ran.json["problems"]) == (0, [])
    assert ran.err == "out of time: 2 of 2 problems are left\n"
    assert not timer.sampled


def test_interrupt_is_told_and_what_was_measured_stays(bench: Bench, timer: Any, simulated: Any) -> None:
    def time_us(problem: Any, config: Any, samples: int) -> float:
        if samples == 200:
            raise KeyboardInterrupt
        us: float = simulated.true_us(problem, config)
        return us

    timer.time_us = time_us
    ran = bench("tune", "--out", "rows.jsonl")
    assert (ran.code, ran.err) == (130, "bench: interrupted\n")
    assert len(Path("rows.jsonl").read_text().splitlines()) == 20
    assert bench("tune", "--out", "rows.jsonl").code == 0


def test_a_schedule_that_breaks_the_gpu_is_told_and_left_out_next_time(
    bench: Bench, timer: Any, simulated: Any
) -> None:
    timer.breaks = frozenset([simulated.FASTEST])
    ran = bench("tune")
    assert ran.code == 3
    assert ran.err == (
        "bench: BLOCK=128, num_warps=2 broke the GPU for this process: an illegal memory access was encountered; the "
        "same command again goes on without it\n"
    )
    assert bench("tune").code == 3  # the other problem's, now
    assert all(one["config"] != dict(simulated.FASTEST) for one in bench("tune", "--json").json["problems"])


def test_plan_compiles_and_launches_nothing(
    bench: Bench, timer: Any, simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def compiler(device: Any, processes: int) -> Iterator[Any]:
        assert device.name == "NVIDIA GB300"
        yield simulated.SimulatedCompiler()

    monkeypatch.setattr("bench.tune.AheadOfTime", compiler)
    planned = bench("tune", "--plan", "--device", "gb300", "--candidates", 12, "--json").json
    assert planned["device"] == "NVIDIA GB300"
    assert planned["problems"][0] == {
        "kernel": "twice",
        "problem": {"rows": 64, "width": 4096},
        "settings": 20,
        "allowed": 20,
        "compiled": 12,
        "refused": {},
        "launched": 12,
    }
    assert not timer.sampled
    assert "12" in bench("tune", "--plan", "--device", "GB300", "--candidates", 12).out
    assert bench("tune", "--plan", "--device", "GB300", "--minutes", 0, "--json").json["problems"] == []


def test_without_a_gpu_one_line_says_what_works(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ran = bench("tune", "rms_norm")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == (
        "bench: tuning needs a CUDA device, and none is usable here (allowed: --plan, --report, --export)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("thrice",), "bench: thrice: no such kernel (allowed: twice)"),
        (("--plan", "--export", "d"), "bench: with --export or --report: --plan (allowed: either)"),
        (
            ("--device", "GB300"),
            "bench: without --plan: --device (allowed: with --plan: what is measured is this machine's)",
        ),
        (("--plan", "--device", "TPU"), "bench: TPU: no such device (allowed: NVIDIA H100 80GB HBM3, "),
        (("--model", "nobody"), "bench: nobody: no such model (allowed: a path, or a name: "),
        (("--model", "tiny", "--tensor-parallel", "3"), "bench: engine.tensor_parallel: tensor_parallel = 3 for "),
        (("--export", "tuned"), "bench: --out: runs/tuning has no measurements (allowed: "),
        (("--report", "r.html", "--out", "none.jsonl"), "bench: none.jsonl: cannot be read: No such file"),
        (("--candidates", "0"), "bench: Invalid value for '--candidates'"),
    ],
)
def test_mistakes_are_told_in_a_line(bench: Bench, arguments: tuple[str, ...], told: str) -> None:
    ran = bench("tune", *arguments)
    assert (ran.code, ran.out) == (2, "")
    [line] = ran.err.splitlines()
    assert line.startswith(told)


def test_measurements_of_another_device_are_refused(bench: Bench) -> None:
    bench("tune", "--out", "rows.jsonl")
    rows = Path("rows.jsonl")
    rows.write_text(rows.read_text().replace("Simulated GPU 80GB", "NVIDIA H200"))
    ran = bench("tune", "--out", "rows.jsonl")
    assert ran.code == 2
    assert ran.err == "bench: rows.jsonl: measurements of NVIDIA H200 (allowed: those of Simulated GPU 80GB)\n"


def test_report_draws_what_was_measured(bench: Bench) -> None:
    bench("tune", "--out", "rows.jsonl")
    drawn = bench("tune", "--report", "shares.png", "--out", "rows.jsonl", "--json").json
    assert Path("shares.png").read_bytes().startswith(b"\x89PNG")
    assert [one["problem"]["rows"] for one in drawn["problems"]] == [64, 1024]
    assert all(one["roofline_fraction"] > one["heuristic_roofline_fraction"] > 0 for one in drawn["problems"])

    assert bench("tune", "--report", "shares.html", "--out", "rows.jsonl").code == 0
    page = Path("shares.html").read_text()
    assert "rows=1024, width=4096" in page
    assert "Kernels on Simulated GPU 80GB" in page
    assert "<script src=" not in page  # it is read where there is no network

    ran = bench("tune", "--report", "shares.pdf", "--out", "rows.jsonl")
    assert (ran.code, ran.err) == (2, "bench: shares.pdf: no such kind of report (allowed: .html, .png)\n")
