"""Projections over weights in tiles of eight bits, as they are stored."""

from __future__ import annotations

import pytest
import torch
from neokernels.formats import fp8_tiles
from neokernels.formats.fp8 import E4M3
from neokernels.fp8_tile_linear import prepare_fp8_tile_linear


@pytest.mark.parametrize("width", [1, 128, 300])
def test_a_group_of_a_token_is_as_near_as_eight_bits_allow(width: int) -> None:
    x = torch.randn(5, width) * 10.0 ** torch.arange(-2, 3)[:, None]
    groups = fp8_tiles.quantise_activations(x)
    assert groups.scales.shape == (5, -(-width // 128))
    torch.testing.assert_close(fp8_tiles.dequantise_activations(groups, torch.float32), x, rtol=2**-4, atol=1e-1)
    for first in range(0, width, 128):
        group = x[:, first : first + 128]
        torch.testing.assert_close(groups.scales[:, first // 128], group.abs().amax(-1) / 448)


@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (130, 300)])
@pytest.mark.parametrize("biased", [False, True])
def test_formula(outputs: int, inputs: int, biased: bool) -> None:
    values = torch.randn(outputs, inputs).to(E4M3)
    scales = torch.rand(fp8_tiles.scales_shape((outputs, inputs)))
    bias = torch.randn(outputs) if biased else None
    linear = prepare_fp8_tile_linear(values, scales, bias)
    assert linear.nbytes == values.nbytes + scales.nbytes + (0 if bias is None else bias.nbytes)
    for rows in (0, 1, 9):
        x = torch.randn(rows, inputs)
        rounded = fp8_tiles.dequantise_activations(fp8_tiles.quantise_activations(x), torch.float64)
        expected = rounded @ fp8_tiles.dequantise(values, scales, torch.float64).T
        expected = expected if bias is None else expected + bias.double()
        torch.testing.assert_close(linear(x).double(), expected, rtol=1e-4, atol=1e-4)


def test_a_group_that_is_no_number_spoils_its_own_token_alone() -> None:
    linear = prepare_fp8_tile_linear(torch.randn(6, 256).to(E4M3), torch.rand(1, 2), None)
    x = torch.randn(3, 256)
    expected = linear(x)
    x[1, 200] = torch.nan
    result = linear(x)
    assert result[[0, 2]].equal(expected[[0, 2]])
    assert not result[1].isfinite().any()
