"""Products of rows of e4m3, for many rows and for few."""

from __future__ import annotations

import pytest
from neokernels.cuda.projections.fp8_matmul import FP8_MATMUL, SMALL_FP8_MATMUL
from neokernels.cuda.projections.products import Product
from neokernels.cuda.projections.small_matmul import SmallProduct
from neokernels.tuning.space import Config

TILES = Config(
    BLOCK_M=16,
    BLOCK_N=32,
    BLOCK_K=32,
    GROUP_M=2,
    HALVES=False,
    DESCRIPTORS=False,
    WARP_SPECIALISE=False,
    programs=1,
    num_warps=4,
    num_stages=2,
    launch_pdl=False,
)
PARTS = Config(
    BLOCK_M=16,
    BLOCK_N=32,
    BLOCK_K=32,
    SPLITS=3,
    SWAP=True,
    DESCRIPTORS=False,
    num_warps=4,
    num_stages=2,
    launch_pdl=False,
)


@pytest.mark.parametrize("shape", [(1, 1, 1), (33, 70, 100), (48, 64, 64)])
def test_the_product_is_that_of_the_reference(check, shape, dtype):
    check(FP8_MATMUL, Product(*shape, dtype, bias=True), TILES)


@pytest.mark.parametrize("change", [{}, {"HALVES": True}, {"BLOCK_K": 128}])
def test_bulk_copies_end_where_the_matrix_does(check, change):
    check(FP8_MATMUL, Product(33, 72, 112, "float16", bias=False), TILES.changed(DESCRIPTORS=True, **change))


@pytest.mark.parametrize("change", [{}, {"SWAP": False}, {"SPLITS": 1}, {"DESCRIPTORS": True}])
def test_few_rows_give_the_same(check, change, dtype):
    check(SMALL_FP8_MATMUL, SmallProduct(20, 72, 112, dtype, bias=True), PARTS.changed(**change))


@pytest.mark.parametrize("batch_invariant", [False, True])
@pytest.mark.parametrize("shape", [(3, 136, 272), (3, 6, 10)])
def test_the_rule_of_thumb_fits_any_shape(check, shape, batch_invariant):
    check(FP8_MATMUL, Product(*shape, "float16", bias=False), batch_invariant=batch_invariant)
    check(SMALL_FP8_MATMUL, SmallProduct(*shape, "float16", bias=False), batch_invariant=batch_invariant)


def test_nothing_comes_of_no_rows(check):
    check(FP8_MATMUL, Product(0, 8, 16, "float16", bias=False), TILES)
    check(SMALL_FP8_MATMUL, SmallProduct(0, 8, 16, "float16", bias=False), PARTS)
