"""Products with 4-bit weights that are decoded on their way."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from neokernels.cuda.projections.fp4_linear import mxfp4_linear, nvfp4_linear
from neokernels.cuda.projections.fp4_matmul import FP4_MATMUL, Fp4Product, fp4_matmul
from neokernels.device import DATASHEET_DEVICES
from neokernels.formats import mxfp4, nvfp4
from neokernels.formats.fp4_panels import dequantise, of_mxfp4, of_nvfp4
from neokernels.tuning.draw import Draw
from neokernels.tuning.schedules import Fixed, Schedules
from neokernels.tuning.space import Config

BFLOAT16 = pytest.param("bfloat16", marks=pytest.mark.gpu)
FEW = Config(
    BLOCK_M=16, BLOCK_N=64, BLOCK_K=128, SPLITS=1, SWAP=True, GROUP_M=1, DESCRIPTORS=False, num_warps=4, num_stages=2
)


@pytest.mark.parametrize("weight_format", ["mxfp4", "nvfp4"])
@pytest.mark.parametrize(("rows", "outputs", "inputs"), [(1, 1, 1), (3, 70, 40), (17, 130, 300), (70, 64, 128)])
def test_product_is_that_of_the_dequantised_weight(check, rows, outputs, inputs, dtype, weight_format):
    check(FP4_MATMUL, Fp4Product(rows, outputs, inputs, dtype, weight_format, bias=rows % 2 == 1))


@pytest.mark.parametrize(
    "change",
    [
        {"SPLITS": 2},
        {"SPLITS": 8},
        {"SWAP": False},
        {"BLOCK_N": 128, "BLOCK_K": 64, "GROUP_M": 8},
        {"BLOCK_M": 32, "DESCRIPTORS": True},
        {"BLOCK_K": 64, "DESCRIPTORS": True, "SWAP": False, "SPLITS": 3},
    ],
    ids=str,
)
def test_every_schedule_gives_the_same(check, change):
    check(FP4_MATMUL, Fp4Product(20, 140, 400, "float16", "nvfp4", bias=True), FEW.changed(**change))


def test_nothing_comes_of_no_rows(check):
    check(FP4_MATMUL, Fp4Product(0, 64, 128, "float16", "mxfp4", bias=False))


def test_what_counts_arrivals_is_left_as_it_was(device):
    inputs = FP4_MATMUL.inputs(Fp4Product(2, 100, 512, "float16", "mxfp4", bias=False), Draw(device))
    schedules = Fixed(DATASHEET_DEVICES[0], FEW.changed(SPLITS=4))
    first = fp4_matmul(*inputs, schedules=schedules)
    assert not inputs[3].any()
    assert torch.equal(fp4_matmul(*inputs, schedules=schedules), first)


@pytest.mark.parametrize("dtype", ["float16", BFLOAT16])
def test_rows_are_the_same_bits_in_any_batch(device, dtype):
    problem = Fp4Product(70, 96, 600, dtype, "nvfp4", bias=True)
    x, panels, bias, arrivals = FP4_MATMUL.inputs(problem, Draw(device))
    schedules = Schedules(DATASHEET_DEVICES[0], batch_invariant=True)
    whole = fp4_matmul(x, panels, bias, arrivals, schedules=schedules)
    assert torch.equal(fp4_matmul(x[5:6], panels, bias, arrivals, schedules=schedules), whole[5:6])


@pytest.mark.parametrize(
    ("prepare", "panels_of"),
    [
        (mxfp4_linear, lambda weight: of_mxfp4(mxfp4.quantise(weight))),
        (nvfp4_linear, lambda weight: of_nvfp4(nvfp4.quantise(weight))),
    ],
)
def test_linear_is_prepared_from_a_weight(device, prepare, panels_of):
    weight = torch.randn(72, 200, device=device)
    weight[3] = 0
    bias = torch.randn(72, device=device)
    linear = prepare(weight, bias, schedules=Schedules(DATASHEET_DEVICES[0]))
    x = torch.randn(5, 200, device=device)
    dense = dequantise(panels_of(weight), torch.float32)
    torch.testing.assert_close(linear(x), x @ dense.T + bias, rtol=1e-4, atol=1e-4)
    assert linear(x[:0]).shape == (0, 72)
    assert linear.nbytes == panels_of(weight).nbytes + bias.nbytes


def test_a_tensor_scale_is_multiplied_behind_the_sum(device):
    problem = Fp4Product(2, 64, 128, "float16", "mxfp4", bias=False)
    x, panels, bias, arrivals = FP4_MATMUL.inputs(problem, Draw(device))
    schedules = Schedules(DATASHEET_DEVICES[0])
    once = fp4_matmul(x, panels, bias, arrivals, schedules=schedules)
    smaller = replace(panels, tensor_scale=panels.tensor_scale / 4)
    assert torch.equal(fp4_matmul(x, smaller, bias, arrivals, schedules=schedules), once / 4)
