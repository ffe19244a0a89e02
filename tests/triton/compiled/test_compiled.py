"""Every kernel, with every shipped problem, compiled for each GPU that matters: what it needs of one, and fits.

One run a version of Triton: `make test` checks 3.9.0 in `.venv-aot`, `make test-full` the one beside torch as well.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import triton
from neokernels import golden
from neokernels.cuda.catalogue import catalogue

GOLDEN = Path(__file__).parents[1] / "golden"
KERNELS = tuple(catalogue().values())

pytestmark = [pytest.mark.slow] if not triton.__version__.startswith("3.9.") else []


@pytest.mark.parametrize("example", list(golden.examples(KERNELS)), ids=str)
def test_shipped_kernels_compile_as_recorded(example):
    recorded = golden.read(GOLDEN, example.kernel).get(example.key)
    assert golden.faults(example, example.compile(), recorded) == []


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_nothing_else_is_recorded(kernel):
    shipped = {example.key for example in golden.examples([kernel])}
    assert set(golden.read(GOLDEN, kernel)) == shipped
