"""Activations in MXFP8 and MXFP4."""

from __future__ import annotations

import pytest
import torch
from neokernels.formats import mxfp4
from neokernels.formats.mx_rows import dequantise_activations, quantise_activations


@pytest.mark.parametrize("scale", [1.0, 2.0**-110, 2.0**110])
def test_eight_bits_are_near_what_they_stand_for(scale):
    x = torch.randn(3, 100, dtype=torch.float64) * scale
    near = dequantise_activations(quantise_activations(x, "e4m3"), torch.float64)
    largest = torch.nn.functional.pad(x, (0, 28)).view(3, 4, 32).abs().amax(-1).repeat_interleave(32, -1)[:, :100]
    # Half a step of the larger elements, of the smallest ones, or what is cut off between 448 and 512.
    assert bool(((near - x).abs() <= torch.maximum(x.abs() / 16, largest / 2**8) * 2.0001).all())


def test_four_bits_are_those_of_weights():
    x = torch.randn(5, 70)
    rows, weight = quantise_activations(x, "e2m1"), mxfp4.quantise(x)
    assert torch.equal(rows.values, weight.codes)
    assert torch.equal(rows.scales, weight.scales.view(torch.uint8))
    assert torch.equal(dequantise_activations(rows, torch.float32), mxfp4.dequantise(weight, torch.float32))


@pytest.mark.parametrize("element", ["e4m3", "e2m1"])
def test_only_a_block_that_is_not_finite_is_lost(element):
    x = torch.randn(2, 64)
    x[0, 40] = torch.inf
    near = dequantise_activations(quantise_activations(x, element), torch.float32)
    assert near[0, 32:].isnan().all()
    assert near[0, :32].isfinite().all()
    assert near[1].isfinite().all()


def test_zeros_stay_zeros():
    assert not dequantise_activations(quantise_activations(torch.zeros(2, 40), "e4m3"), torch.float32).any()
