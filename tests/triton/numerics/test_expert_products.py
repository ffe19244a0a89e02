"""The products of experts and the sum of their answers, each alone."""

from __future__ import annotations

import pytest
from neokernels.cuda.experts.expert_products import DOWN_PRODUCT, GATE_UP_PRODUCT, ExpertProduct
from neokernels.cuda.experts.expert_sum import EXPERT_SUM, Summing
from neokernels.tuning.space import Config

BOTH = [GATE_UP_PRODUCT, DOWN_PRODUCT]
SMALL = {
    "BLOCK_M": 16,
    "BLOCK_N": 32,
    "BLOCK_K": 32,
    "GROUP_M": 1,
    "SWAP": False,
    "DESCRIPTORS": False,
    "num_warps": 4,
    "num_stages": 3,
    "launch_pdl": False,
}


@pytest.mark.parametrize("kernel", BOTH, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize(("rows", "experts", "per_row"), [(1, 1, 1), (3, 5, 2), (40, 4, 2)])
def test_products_are_those_of_the_formula(check, kernel, rows, experts, per_row, dtype):
    check(kernel, ExpertProduct(rows, experts, per_row, 48, 40, dtype))


@pytest.mark.parametrize("kernel", BOTH, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize(("hidden", "intermediate"), [(64, 32), (33, 7), (140, 67)])
def test_widths_bias_and_clamp(check, kernel, hidden, intermediate, dtype):
    clamped = kernel is GATE_UP_PRODUCT
    check(kernel, ExpertProduct(4, 3, 2, hidden, intermediate, dtype, clamped=clamped, bias=True))


@pytest.mark.parametrize("kernel", BOTH, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize(("weight_format", "swap"), [("mxfp4", False), ("mxfp4", True), ("nvfp4", True)])
def test_weights_in_four_bits(check, kernel, dtype, weight_format, swap):
    config = Config(**{**SMALL, "BLOCK_K": 128, "SWAP": swap})
    hidden, intermediate = (160, 40) if kernel is GATE_UP_PRODUCT else (40, 160)
    check(kernel, ExpertProduct(2, 2, 2, hidden, intermediate, dtype, weight_format, bias=True), config)


@pytest.mark.parametrize("kernel", BOTH, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize(
    "changed",
    [
        {"SWAP": True},
        {"SWAP": True, "BLOCK_K": 64},
        {"BLOCK_M": 32, "GROUP_M": 4},
        {"BLOCK_M": 64, "BLOCK_N": 64, "GROUP_M": 16},
        {"BLOCK_M": 128},
    ],
    ids=str,
)
def test_every_schedule_gives_the_same(check, kernel, changed):
    check(kernel, ExpertProduct(40, 2, 2, 40, 33, "float32"), Config(**{**SMALL, **changed}))


@pytest.mark.parametrize("kernel", BOTH, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("weight_format", ["int8", "fp8"])
@pytest.mark.parametrize("swap", [False, True])
def test_weights_in_eight_bits(check, kernel, dtype, weight_format, swap):
    config = Config(**{**SMALL, "SWAP": swap})
    check(kernel, ExpertProduct(7, 3, 2, 45, 70, dtype, weight_format, bias=True), config)


@pytest.mark.parametrize("kernel", BOTH, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("weight_format", ["dense", "fp8", "mxfp4"])
def test_bulk_copies_read_the_same(check, kernel, weight_format):
    config = Config(**{**SMALL, "BLOCK_K": 128, "DESCRIPTORS": True})
    check(kernel, ExpertProduct(3, 3, 2, 48, 64, "float32", weight_format), config)


@pytest.mark.parametrize(("rows", "width", "per_row"), [(0, 8, 2), (1, 1, 1), (9, 300, 4), (3, 1025, 8)])
def test_answers_are_added_by_weight(check, rows, width, per_row, dtype):
    check(EXPERT_SUM, Summing(rows, width, per_row, dtype))


@pytest.mark.parametrize("block", [256, 2048])
def test_every_width_of_a_program_gives_the_same(check, block):
    check(EXPERT_SUM, Summing(3, 700, 3, "float32"), Config(BLOCK=block, num_warps=1, launch_pdl=False))
