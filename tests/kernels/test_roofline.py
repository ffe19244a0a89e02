"""What a device is given to do to find its ceilings, and how much that is said to be."""

from __future__ import annotations

import pytest
import torch
from neokernels.roofline import copy_stream, measure_ceilings, narrow_product, product, read_stream, seconds_of

CPU = torch.device("cpu")


def test_a_sum_reads_every_byte_once() -> None:
    load = read_stream(CPU, 1 << 12)
    assert load.amount == 1 << 12
    assert load.run().item() == (1 << 12) // 8


def test_a_copy_reads_and_writes() -> None:
    load = copy_stream(CPU, 1 << 12)
    assert load.amount == 2 << 12
    assert load.run().nbytes == 1 << 12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_multiplies_and_adds(dtype: torch.dtype) -> None:
    load = product(CPU, dtype, 64)
    assert load.amount == 2 * 64**3
    assert (load.run().shape, load.run().dtype) == ((64, 64), dtype)


def test_a_product_of_eight_bit_floats_is_as_much_as_any_of_its_size() -> None:
    assert narrow_product(CPU).amount == product(CPU, torch.bfloat16).amount


def test_ceilings_are_of_this_machine() -> None:
    ceilings = measure_ceilings(CPU, torch.bfloat16)
    assert ceilings.read_bytes_per_s > 0
    assert ceilings.gemm_flops_per_s > 0


def test_work_is_timed_until_it_is_done() -> None:
    done: list[int] = []
    assert seconds_of(CPU, lambda: done.append(1)) >= 0
    assert done == [1]
