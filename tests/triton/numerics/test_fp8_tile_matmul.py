"""Products with weights in tiles of e4m3."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.projections.fp8_tile_matmul import FP8_TILE_MATMUL, TritonFp8TileLinear
from neokernels.cuda.projections.products import Product
from neokernels.device import DATASHEET_DEVICES
from neokernels.formats import fp8_tiles
from neokernels.formats.fp8 import E4M3
from neokernels.fp8_tile_linear import Fp8TileLinear
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config

PARTS = Config(
    BLOCK_M=16,
    BLOCK_N=64,
    GROUP_M=2,
    SPLITS=2,
    SWAP=True,
    DESCRIPTORS=False,
    num_warps=4,
    num_stages=2,
    launch_pdl=False,
)
SHAPES = [(1, 1, 1), (7, 130, 300), (33, 256, 128), (20, 70, 513)]
"""(rows, outputs, inputs)"""


@pytest.mark.parametrize("shape", SHAPES)
def test_the_product_is_that_of_the_reference(check, shape, dtype):
    check(FP8_TILE_MATMUL, Product(*shape, dtype, bias=True), PARTS)


@pytest.mark.parametrize(
    "change", [{"SWAP": False}, {"SPLITS": 1}, {"SPLITS": 16}, {"DESCRIPTORS": True}, {"BLOCK_N": 128, "GROUP_M": 1}]
)
def test_every_schedule_gives_the_same(check, change):
    check(FP8_TILE_MATMUL, Product(20, 144, 400, "float32", bias=False), PARTS.changed(**change))


@pytest.mark.parametrize("batch_invariant", [False, True])
@pytest.mark.parametrize("rows", [0, 3, 65])
def test_the_rule_of_thumb_fits_any_shape(check, rows, batch_invariant):
    check(FP8_TILE_MATMUL, Product(rows, 136, 272, "float16", bias=False), batch_invariant=batch_invariant)


def test_the_projection_is_that_of_the_reference(device):
    values = torch.randn(70, 300, device=device).to(E4M3)
    scales = torch.rand(fp8_tiles.scales_shape(values.shape), device=device)
    schedules = Schedules(DATASHEET_DEVICES[0])
    ours, known = TritonFp8TileLinear(values, scales, schedules=schedules), Fp8TileLinear(values, scales)
    assert ours.nbytes == known.nbytes
    for rows in (0, 5):
        x = torch.randn(rows, 300, device=device)
        torch.testing.assert_close(ours(x), known(x), rtol=1e-4, atol=1e-4)
