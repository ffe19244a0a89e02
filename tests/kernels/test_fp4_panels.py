"""Panels of 4-bit weights, and the bits that kernels rely on in them."""

from __future__ import annotations

import pytest
import torch
from neokernels.formats import mxfp4, nvfp4
from neokernels.formats.fp4_panels import PANEL, ROWS, dequantise, of_mxfp4, of_nvfp4


@pytest.mark.parametrize("shape", [(1, 1), (5, 200), (130, 64), (3, 7, 384)])
@pytest.mark.parametrize("scale", [1.0, 2.0**-90, 2.0**90])
def test_panels_stand_for_the_weight_they_were_made_of(shape, scale):
    weight = torch.randn(shape) * scale
    weight[..., 0, :] = 0
    weight[..., -1, : PANEL // 2] *= 2.0**-8
    microscaled = mxfp4.quantise(weight)
    assert torch.equal(dequantise(of_mxfp4(microscaled), torch.float32), mxfp4.dequantise(microscaled, torch.float32))
    quantised = nvfp4.quantise(weight)
    torch.testing.assert_close(
        dequantise(of_nvfp4(quantised), torch.float32), nvfp4.dequantise(quantised, torch.float32), rtol=3e-7, atol=0
    )


def test_a_panel_is_one_run_of_memory_that_no_tile_ends_early():
    panels = of_nvfp4(nvfp4.quantise(torch.randn(130, 200)))
    assert panels.words.shape == (2, 2 * ROWS, PANEL // 8)
    assert panels.scales.shape == (2, 2 * ROWS, PANEL // nvfp4.BLOCK)
    assert panels.words.is_contiguous()
    assert not panels.words[:, 130:].any()


def test_a_mask_takes_a_pair_as_it_lies_in_a_bfloat16():
    row = torch.tensor([[0.5, -6.0, 1.5, 2.0, -3.0, 4.0, 6.0, -1.0, *[0.0] * 24]])
    word = int(of_mxfp4(mxfp4.quantise(row)).words[0, 0, 0]) & 0xFFFFFFFF
    halves = [word >> up << below & 0x81C0 for up, below in ((0, 0), (16, 0), (0, 3), (16, 3), (0, 6), (16, 6))]
    smallest = torch.tensor(halves, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    assert torch.equal(smallest.double() * 2.0**126, row[0, :6].double())


def test_a_power_of_two_far_below_the_largest_is_the_least_there_is():
    weight = torch.ones(1, 64)
    weight[:, 32:] = 2.0**-126
    weight[:, :32] = 2.0**100
    dense = dequantise(of_mxfp4(mxfp4.quantise(weight)), torch.float64)
    assert float(dense[0, 32:].max()) <= 2.0**-20
    assert torch.equal(dense[0, :32], weight[0, :32].double())
