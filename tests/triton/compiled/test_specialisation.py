"""That a step of another size never waits for a compiler: what changes from step to step is nobody's constant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from neokernels.aot import compile_kernel
from neokernels.cuda.catalogue import catalogue
from neokernels.device import DATASHEET_DEVICES
from neokernels.tuning.space import TunableKernel

HOPPER = DATASHEET_DEVICES[0]
KERNELS = tuple(kernel for kernel in catalogue().values() if kernel.problem_type.batch_fields)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_one_schedule_is_one_kernel_whatever_the_batch(kernel: TunableKernel[Any]) -> None:
    problem = kernel.examples[0]
    config = kernel.heuristic(problem.bucket(), HOPPER)
    digests = set()
    for size in (64, 33):  # Triton would make constants of 1, and of whether 16 divides a number
        batch = replace(problem, **dict.fromkeys(problem.batch_fields, size))
        digests.add(tuple(launch.digest for launch in compile_kernel(kernel, batch, config, HOPPER)))
    assert len(digests) == 1
