"""RMS norm against its formula in float64."""

from __future__ import annotations

import pytest
import torch
from neokernels.rms_norm import add_rms_norm, rms_norm
from torch import Tensor

EPS = 1e-5
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2e-2}


def formula(x: Tensor, weight: Tensor) -> Tensor:
    x, weight = x.double(), weight.double()
    return x / ((x * x).sum(-1, keepdim=True) / x.shape[-1] + EPS) ** 0.5 * weight


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 64), (17, 96), (2, 5, 24), (0, 8)])
def test_formula(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape).mul(3).to(dtype)
    weight = torch.randn(shape[-1]).to(dtype)
    result = rms_norm(x, weight, EPS)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), formula(x, weight), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_arithmetic_is_float32() -> None:
    """A constant row normalises to ones; squared or divided in bfloat16, one in eight of these constants would not."""
    x = (1 + torch.arange(128).float() / 128)[:, None].expand(128, 64).to(torch.bfloat16)
    assert rms_norm(x, torch.ones(64, dtype=torch.bfloat16), EPS).eq(1).all()


def test_zero_row_stays_zero() -> None:
    assert rms_norm(torch.zeros(1, 8), torch.ones(8), EPS).eq(0).all()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_residual_sum_is_normalised_and_returned(dtype: torch.dtype) -> None:
    x, residual = torch.randn(5, 48).to(dtype), torch.randn(5, 48).to(dtype)
    kept = residual.clone()
    weight = torch.randn(48).to(dtype)
    result, total = add_rms_norm(x, residual, weight, EPS)
    assert total.equal(kept + x)
    assert residual.equal(kept)
    torch.testing.assert_close(result.double(), formula(total, weight), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
