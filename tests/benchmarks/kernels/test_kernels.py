"""How near every kernel comes to what memory and tensor cores allow: `make bench-kernels`.

On a GPU a round is one launch of the shipped kernel, in device time, beside the library's and the torch reference; see
`neokernels.tuning.cuda_timer` for how. Elsewhere it is one call of the torch reference, with few rows. `extra_info`
holds what the problem costs at least and how much of this machine's measured ceilings that is; nothing is asserted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from neokernels.cuda.catalogue import catalogue
from neokernels.device import cuda_device
from neokernels.roofline import KernelCeilings, measure_ceilings, measure_kernel_ceilings
from neokernels.tuning.cuda_timer import CudaTimer, nbytes
from neokernels.tuning.draw import Draw
from neokernels.tuning.measurement import UNTOLD
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Inputs, Outputs, Problem, TunableKernel, named_dtype
from neokernels.tuning.table import shipped_table
from pytest_benchmark.fixture import BenchmarkFixture

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
FEW = 64
"""Rows, requests and tokens of context at most, where no GPU computes them."""
LARGEST_BYTES = 1 << 29
"""Inputs of the largest problem that is timed there."""
ROUNDS = 50 if ON_GPU else 3


class DeviceClock:
    """Stands still but for the microseconds that launches took on the device."""

    __name__ = "device clock"

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, microseconds: float) -> None:
        self.now_s += microseconds * 1e-6


CLOCK = DeviceClock()
pytestmark = [pytest.mark.benchmark(timer=CLOCK)] if ON_GPU else []


class InsteadOf:
    """A kernel's problems computed by something else."""

    def __init__(self, kernel: TunableKernel[Any], compute: Callable[[Inputs], Outputs | None]) -> None:
        self.inputs, self.work, self.reference = kernel.inputs, kernel.work, kernel.reference
        self.run = lambda inputs, _: compute(inputs)


def problems() -> Iterator[Any]:
    for kernel in catalogue().values():
        for problem in kernel.examples:
            if not ON_GPU:
                few = {name: min(FEW, getattr(problem, name)) for name in kernel.problem_type.batch_fields}
                problem = replace(problem, **few)
            if ON_GPU or nbytes(kernel.inputs(problem, Draw("meta"))) <= LARGEST_BYTES:
                yield pytest.param(kernel, problem, id=f"{kernel.name}: {problem}")


@pytest.fixture(scope="session")
def ceilings() -> KernelCeilings:
    if ON_GPU:
        return measure_kernel_ceilings(DEVICE)
    measured = {name: measure_ceilings(DEVICE, named_dtype(name)) for name in ("float32", "bfloat16")}
    read = max(ceiling.read_bytes_per_s for ceiling in measured.values())
    return KernelCeilings(read, read, {name: ceiling.gemm_flops_per_s for name, ceiling in measured.items()})


@pytest.mark.parametrize(("kernel", "problem"), list(problems()))
@pytest.mark.parametrize("computed_by", ["triton", "library", "reference"] if ON_GPU else ["reference"])
def test_kernel(
    benchmark: BenchmarkFixture,
    ceilings: KernelCeilings,
    kernel: TunableKernel[Any],
    problem: Problem,
    computed_by: str,
) -> None:
    benchmark.group = kernel.name
    if ON_GPU:
        _on_gpu(benchmark, kernel, problem, computed_by)
    else:
        inputs = kernel.inputs(problem, Draw(DEVICE))
        benchmark.pedantic(kernel.reference, (inputs,), rounds=ROUNDS, warmup_rounds=1)
    work = kernel.work(problem)
    benchmark.extra_info.update(
        kernel=kernel.name,
        problem=problem.as_dict(),
        computed_by=computed_by,
        device=cuda_device(0).name if ON_GPU else "cpu",
        bytes=work.nbytes,
        flops=work.flops,
    )
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info.update(
            gb_per_s=round(work.nbytes / seconds / 1e9, 2),
            tflop_per_s=round(work.flops / seconds / 1e12, 3),
            share_of_roofline=ceilings.share(work, seconds),
        )


def _on_gpu(benchmark: BenchmarkFixture, kernel: TunableKernel[Any], problem: Problem, computed_by: str) -> None:
    candidate: Any = kernel
    schedules = Schedules(cuda_device(0), shipped_table(cuda_device(0)))
    config = schedules.config(kernel, problem)
    if computed_by == "triton":
        benchmark.extra_info.update(schedules.look_ups[0].as_dict())
    else:
        compute = kernel.library if computed_by == "library" else kernel.reference
        if compute(kernel.inputs(problem, Draw(DEVICE))) is None:
            pytest.skip("no library has it")
        candidate = InsteadOf(kernel, compute)
    with CudaTimer(DEVICE, lambda: UNTOLD).on(candidate, problem) as timing:
        timing.prepare(config)
        benchmark.pedantic(lambda: CLOCK.advance(timing.sample_us(config)), rounds=ROUNDS, warmup_rounds=2)
