"""Dense products of few rows, the sum over K split."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.projections.small_matmul import SMALL_MATMUL, SmallProduct, small_matmul
from neokernels.cuda.projections.split_sum import no_arrivals
from neokernels.device import DATASHEET_DEVICES
from neokernels.tuning.schedules import Fixed
from neokernels.tuning.space import Config

PARTS = Config(
    BLOCK_M=16,
    BLOCK_N=32,
    BLOCK_K=16,
    SPLITS=3,
    SWAP=True,
    DESCRIPTORS=False,
    num_warps=4,
    num_stages=2,
    launch_pdl=False,
)
SHAPES = [(1, 1, 1), (1, 40, 33), (7, 70, 100), (33, 17, 5), (64, 64, 64)]
"""(rows, outputs, inputs)"""


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_product_is_that_of_the_reference(check, shape, swap, dtype):
    check(SMALL_MATMUL, SmallProduct(*shape, dtype, bias=True), PARTS.changed(SWAP=swap))


@pytest.mark.parametrize("splits", [1, 2, 5, 16])
@pytest.mark.parametrize("descriptors", [False, True])
def test_parts_are_added_up_however_many_they_are(check, splits, descriptors):
    """Sixteen are more than there are steps along K."""
    config = PARTS.changed(SPLITS=splits, DESCRIPTORS=descriptors)
    check(SMALL_MATMUL, SmallProduct(5, 72, 104, "float32", bias=False), config)


@pytest.mark.parametrize("change", [{"BLOCK_K": 64}, {"BLOCK_M": 64}, {"BLOCK_N": 64}, {"DESCRIPTORS": True}])
def test_every_tile_gives_the_same(check, change, dtype):
    check(SMALL_MATMUL, SmallProduct(20, 72, 104, dtype, bias=True), PARTS.changed(**change))


@pytest.mark.parametrize("shape", [(1, 136, 1100), (3, 6, 10)])
@pytest.mark.parametrize("batch_invariant", [False, True])
def test_the_rule_of_thumb_fits_any_shape(check, shape, dtype, batch_invariant):
    check(SMALL_MATMUL, SmallProduct(*shape, dtype, bias=False), batch_invariant=batch_invariant)


def test_arrivals_are_left_as_they_were(device):
    x, weight = torch.randn(3, 90, device=device), torch.randn(70, 90, device=device)
    arrivals = no_arrivals(70, x.device)
    schedules = Fixed(DATASHEET_DEVICES[0], PARTS)
    first, second = (small_matmul(x, weight, None, arrivals, schedules=schedules) for _ in range(2))
    assert first.equal(second)
    assert not arrivals.any()


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 0, 8)])
def test_nothing_comes_of_nothing(device, shape):
    rows, outputs, inputs = shape
    x, weight = torch.ones(rows, inputs, device=device), torch.ones(outputs, inputs, device=device)
    arrivals = no_arrivals(outputs, x.device)
    y = small_matmul(x, weight, None, arrivals, schedules=Fixed(DATASHEET_DEVICES[0], PARTS))
    assert y.shape == (rows, outputs)
