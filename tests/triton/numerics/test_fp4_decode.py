"""Decoding in registers gives the very numbers that the formats stand for; bfloat16's product is assembly, for GPUs."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from neokernels.cuda.projections.fp4_decode import fp4_weights
from neokernels.formats import mxfp4, nvfp4
from neokernels.formats.fp4_panels import PANEL, Fp4Panels, of_mxfp4, of_nvfp4
from torch import Tensor

HALF_ON_GPU = pytest.param("bfloat16", marks=pytest.mark.gpu)


@triton.jit
def _decode(
    words_ptr, scales_ptr, out_ptr, rows, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr, dtype
):
    """One panel a program."""
    panel = tl.program_id(0)
    row = panel * rows + tl.arange(0, ROWS)[:, None]
    words = tl.load(words_ptr + row * (COLUMNS // 8) + tl.arange(0, COLUMNS // 8)[None, :])
    scales = tl.load(scales_ptr + row * (COLUMNS // BLOCK) + tl.arange(0, COLUMNS // BLOCK)[None, :])
    weights = fp4_weights(words, scales, dtype)
    tl.store(out_ptr + row * COLUMNS + tl.arange(0, COLUMNS)[None, :], weights.to(tl.float32))


def decoded(panels: Fp4Panels, dtype: str, device: torch.device) -> Tensor:
    count, rows = panels.words.shape[:2]
    out = torch.empty(count, rows, PANEL, device=device)
    _decode[(count,)](
        panels.words, panels.scales, out, rows, ROWS=rows, COLUMNS=PANEL, BLOCK=panels.block, dtype=getattr(tl, dtype)
    )
    whole = out.transpose(0, 1).flatten(1) * panels.tensor_scale
    return whole[: panels.outputs, : panels.columns]


@pytest.mark.parametrize(("outputs", "columns"), [(1, 1), (5, 200), (130, 64)])
def test_decoded_weights_are_the_dequantised(device, outputs, columns, dtype):
    weight = torch.randn(outputs, columns, device=device)
    weight[outputs // 2] = 0
    for panels, dense in (
        (of_mxfp4(mxfp4.quantise(weight)), mxfp4.dequantise(mxfp4.quantise(weight), torch.float32)),
        (of_nvfp4(nvfp4.quantise(weight)), nvfp4.dequantise(nvfp4.quantise(weight), torch.float32)),
    ):
        torch.testing.assert_close(decoded(panels, dtype, device), dense, rtol=3e-7, atol=0)


@pytest.mark.parametrize("exponent", [-120, -30, 100, 120])
@pytest.mark.parametrize("dtype", ["float32", HALF_ON_GPU])
def test_powers_of_two_at_the_end_of_their_range_are_kept(device, exponent, dtype):
    weight = torch.randn(3, 160, device=device) * 2.0**exponent
    weight[:, :32] *= 2.0**-20
    quantised = mxfp4.quantise(weight)
    dense = mxfp4.dequantise(quantised, torch.float32)
    # Times a scale that is subnormal or large the products are still exact.
    torch.testing.assert_close(decoded(of_mxfp4(quantised), dtype, device), dense, rtol=0, atol=0)


def test_float16_keeps_what_its_exponents_reach(device):
    weight = torch.randn(4, 128, device=device) * 2.0**-40
    weight[:, :32] *= 2.0**-10
    quantised = mxfp4.quantise(weight)
    dense = mxfp4.dequantise(quantised, torch.float32)
    torch.testing.assert_close(decoded(of_mxfp4(quantised), "float16", device), dense, rtol=0, atol=0)
