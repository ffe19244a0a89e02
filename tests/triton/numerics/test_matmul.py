"""Dense products of many rows."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.projections.matmul import MATMUL, matmul
from neokernels.cuda.projections.products import Product
from neokernels.device import DATASHEET_DEVICES
from neokernels.tuning.schedules import Fixed, Schedules
from neokernels.tuning.space import Config

TILES = Config(
    BLOCK_M=16,
    BLOCK_N=32,
    BLOCK_K=16,
    GROUP_M=2,
    HALVES=False,
    DESCRIPTORS=False,
    WARP_SPECIALISE=False,
    programs=1,
    num_warps=4,
    num_stages=2,
    launch_pdl=False,
)
SHAPES = [(1, 1, 1), (2, 8, 0), (1, 40, 33), (33, 70, 100), (50, 17, 5), (48, 64, 64)]
"""(rows, outputs, inputs)"""


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_product_is_that_of_the_reference(check, shape, bias, dtype):
    check(MATMUL, Product(*shape, dtype, bias), TILES)


@pytest.mark.parametrize("change", [{}, {"HALVES": True}, {"GROUP_M": 1}, {"BLOCK_K": 64}, {"WARP_SPECIALISE": True}])
@pytest.mark.parametrize("shape", [(33, 72, 104), (5, 8, 16)])
def test_bulk_copies_end_where_the_matrix_does(check, shape, change, dtype):
    check(MATMUL, Product(*shape, dtype, bias=True), TILES.changed(DESCRIPTORS=True, **change))


def test_a_program_goes_through_many_tiles(check):
    """More than any GPU has multiprocessors."""
    check(MATMUL, Product(9 * 16, 20 * 32, 16, "float16", bias=True), TILES)


@pytest.mark.parametrize("shape", [(70, 136, 72), (3, 6, 10)])
def test_the_rule_of_thumb_fits_any_shape(check, shape, dtype):
    check(MATMUL, Product(*shape, dtype, bias=False))


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 0, 8)])
def test_nothing_comes_of_nothing(device, shape):
    rows, outputs, inputs = shape
    x, weight = torch.ones(rows, inputs, device=device), torch.ones(outputs, inputs, device=device)
    assert matmul(x, weight, schedules=Fixed(DATASHEET_DEVICES[0], TILES)).shape == (rows, outputs)


@pytest.mark.parametrize("descriptors", [False, True])
def test_rows_may_lie_apart_and_anywhere(device, descriptors):
    """As a part of the columns of a wider tensor does, and the rows of a weight that is cut off its neighbours."""
    x, weight = torch.randn(5, 100, device=device)[:, 3:35], torch.randn(41, 32, device=device)[1:]
    y = matmul(x, weight, schedules=Fixed(DATASHEET_DEVICES[0], TILES.changed(DESCRIPTORS=descriptors)))
    torch.testing.assert_close(y, x @ weight.T, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
def test_a_batch_invariant_row_keeps_its_bits(device):
    schedules = Schedules(DATASHEET_DEVICES[0], batch_invariant=True)
    x, weight = (torch.randn(rows, 80, device=device, dtype=torch.float16) for rows in (300, 72))
    whole = matmul(x, weight, schedules=schedules)
    for rows in (1, 7, 129):
        assert matmul(x[-rows:], weight, schedules=schedules).equal(whole[-rows:])
