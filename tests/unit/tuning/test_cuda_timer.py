"""Timing on a GPU: how many copies keep its cache cold, and what a real one measures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from neokernels.cuda.rows.rms_norm import RMS_NORM, RowNorm
from neokernels.roofline import KernelCeilings
from neokernels.tuning import cuda_timer
from neokernels.tuning.cuda_timer import CudaTimer
from neokernels.tuning.measurement import UNTOLD
from neokernels.tuning.search import Effort
from neokernels.tuning.space import Config, Work
from neokernels.tuning.store import read_measurements

import bench.tune

L2 = 50 << 20
CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("read_bytes", "input_bytes", "free_bytes", "copies"),
    [
        (100 << 20, 100 << 20, 80 << 30, 4),  # 250 MiB are five caches
        (1 << 30, 1 << 30, 80 << 30, 2),
        (1 << 10, 1 << 10, 80 << 30, 512),
        (100 << 20, 8 << 30, 80 << 30, 2),
        (1 << 30, 60 << 30, 80 << 30, 1),
    ],
)
def test_copies_outrun_the_cache_where_memory_has_room(
    read_bytes: int, input_bytes: int, free_bytes: int, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_bytes, 80 << 30))
    assert cuda_timer._copies(read_bytes, input_bytes, L2, CUDA) == copies


def test_least_time_is_that_of_the_scarcer_resource() -> None:
    ceilings = KernelCeilings(read_bytes_per_s=3e12, copy_bytes_per_s=2e12, gemm_flops_per_s={"bfloat16": 600e12})
    assert ceilings.share(Work(nbytes=3_000_000), 2e-6) == pytest.approx(0.5)
    assert ceilings.share(Work(nbytes=3_000_000, flops=1_200_000_000), 4e-6) == pytest.approx(0.5)
    assert ceilings.share(Work(nbytes=3_000_000, flops=600_000_000), 4e-6) == pytest.approx(0.25)
    assert ceilings.share(Work(nbytes=3_000_000, flops=1, flops_dtype="nvfp4"), 4e-6) is None


@pytest.mark.gpu
def test_a_schedule_is_timed_and_checked() -> None:
    timer = CudaTimer(CUDA, lambda: UNTOLD)
    problem = RowNorm(8192, 4096, "bfloat16", adds=True)
    config = RMS_NORM.heuristic(problem, timer.device)
    with timer.on(RMS_NORM, problem) as timing:
        timing.prepare(config)
        samples = [timing.sample_us(config) for _ in range(20)]
        assert timing.conditions.cold_l2
        assert timing.fault(config) is None
    least_us = RMS_NORM.work(problem).nbytes / 10e12 * 1e6  # no GPU moves ten terabytes in a second
    assert all(sample > least_us for sample in samples)


@pytest.mark.gpu
def test_a_kernel_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    timer, problem = CudaTimer(CUDA, lambda: UNTOLD), RowNorm(64, 1024, "bfloat16", adds=False)
    config, right = RMS_NORM.heuristic(problem, timer.device), RMS_NORM.run

    def run(inputs, schedules):
        (out,) = right(inputs, schedules)
        return (torch.where(torch.arange(64, device=CUDA)[:, None] == 7, torch.empty_like(out), out),)

    monkeypatch.setattr(RMS_NORM, "run", run, raising=False)
    with timer.on(RMS_NORM, problem) as timing:
        timing.prepare(config)
        assert "not finite" in str(timing.fault(config))


@pytest.mark.gpu
def test_tuning_this_gpu(tmp_path: Path) -> None:
    work = [(RMS_NORM, RowNorm(64, 4096, "bfloat16", adds=True))]
    with bench.tune.this_gpu() as gpu:
        [tuned] = bench.tune.tune(
            work, gpu, tmp_path / "rows.jsonl", Effort(candidates=6, final_samples=20), None, lambda line: None
        )
    assert isinstance(tuned.outcome.best and tuned.outcome.best.config, Config)
    rows = read_measurements(tmp_path / "rows.jsonl")
    assert {row.status for row in rows} == {"measured"}
    assert all(row.stack.ptxas and row.stack.driver and row.device.memory_bytes for row in rows)
