"""NVFP4 only on a GPU: the interpreter takes its scales for powers of two. MXFP4 on both sides takes the same path."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.projections.fp4_linear import mxfp4_linear_w4a8, nvfp4_linear_w4a4
from neokernels.cuda.projections.fp4_scaled_matmul import FP4_SCALED_MATMUL, ScaledFp4Product, fp4_scaled_matmul
from neokernels.device import DATASHEET_DEVICES
from neokernels.formats import mx_rows, mxfp4, nvfp4
from neokernels.linear_quantised import ReadsFp8
from neokernels.tuning.draw import Draw
from neokernels.tuning.schedules import Fixed, Schedules
from neokernels.tuning.space import Config

ON_GPU = pytest.mark.gpu
BLACKWELL = DATASHEET_DEVICES[1]
FEW = Config(
    BLOCK_M=16, BLOCK_N=128, BLOCK_K=128, SPLITS=1, SWAP=True, GROUP_M=1, DESCRIPTORS=True, num_warps=4, num_stages=2
)


@pytest.mark.parametrize("form", ["mxfp8", "mxfp4", pytest.param("nvfp4", marks=ON_GPU)])
@pytest.mark.parametrize(("rows", "outputs", "inputs"), [(0, 8, 32), (1, 1, 1), (3, 70, 40), (17, 130, 300)])
def test_product_is_that_of_the_dequantised(check, rows, outputs, inputs, form, dtype):
    check(FP4_SCALED_MATMUL, ScaledFp4Product(rows, outputs, inputs, form, dtype, bias=rows % 2 == 1), FEW)


@pytest.mark.parametrize(
    "change",
    [
        {"SPLITS": 2},
        {"SPLITS": 5, "BLOCK_M": 32},
        {"BLOCK_N": 256, "BLOCK_M": 128, "BLOCK_K": 256, "SWAP": False, "GROUP_M": 8},
        {"DESCRIPTORS": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["mxfp8", "mxfp4", pytest.param("nvfp4", marks=ON_GPU)])
def test_every_schedule_gives_the_same(check, change, form):
    problem = ScaledFp4Product(20, 140, 400, form, "float32", bias=True)
    check(FP4_SCALED_MATMUL, problem, FEW.changed(**change))


def test_what_counts_arrivals_is_left_as_it_was(device):
    problem = ScaledFp4Product(2, 100, 512, "mxfp8", "float32", bias=False)
    inputs = FP4_SCALED_MATMUL.inputs(problem, Draw(device))
    schedules = Fixed(BLACKWELL, FEW.changed(SPLITS=4))
    first = fp4_scaled_matmul(*inputs, schedules=schedules)
    assert not inputs[4].any()
    assert torch.equal(fp4_scaled_matmul(*inputs, schedules=schedules), first)


def test_the_rule_of_thumb_splits_no_promised_sum(device):
    problem = ScaledFp4Product(1, 128, 2048, "mxfp8", "float32", bias=False)
    x, weight, bias, dtype, _ = FP4_SCALED_MATMUL.inputs(problem, Draw(device))
    promised = Schedules(BLACKWELL, batch_invariant=True)
    nobody = torch.full((128,), 7, dtype=torch.int32, device=device)
    y = fp4_scaled_matmul(x, weight, bias, dtype, nobody, schedules=promised)
    assert bool((nobody == 7).all())
    torch.testing.assert_close(
        y.double(), FP4_SCALED_MATMUL.exact((x, weight, bias, dtype, nobody))[0], rtol=1e-5, atol=1e-2
    )


def test_linear_quantises_tokens_to_eight_bits(device):
    weight, bias = torch.randn(72, 200, device=device), torch.randn(72, device=device)
    linear = mxfp4_linear_w4a8(weight, bias, schedules=Schedules(BLACKWELL))
    x = torch.randn(5, 200, device=device)
    tokens = mx_rows.quantise_activations(x, "e4m3")
    dense = mxfp4.dequantise(mxfp4.quantise(weight), torch.float32)
    expected = mx_rows.dequantise_activations(tokens, torch.float32) @ dense.T + bias
    torch.testing.assert_close(linear(x), expected, rtol=1e-4, atol=1e-4)
    assert not isinstance(linear, ReadsFp8)  # nor would it know tokens in fp8
    assert linear(x[:0]).shape == (0, 72)


@pytest.mark.gpu
def test_linear_quantises_tokens_to_four_bits(device):
    weight = torch.randn(72, 200, device=device)
    linear = nvfp4_linear_w4a4(weight, schedules=Schedules(BLACKWELL))
    x = torch.randn(5, 200, device=device)
    tokens = nvfp4.dequantise_activations(nvfp4.quantise_activations(x), torch.float32)
    dense = nvfp4.dequantise(nvfp4.quantise(weight), torch.float32)
    torch.testing.assert_close(linear(x), tokens @ dense.T, rtol=1e-3, atol=1e-3)
