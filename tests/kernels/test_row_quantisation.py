"""Norms and activations that are quantised where they are made: what projections make of those that are not."""

from __future__ import annotations

import pytest
import torch
from neokernels.formats import fp8, nvfp4
from neokernels.registry import Numerics, Registry, Target
from neokernels.rms_norm import add_rms_norm
from neokernels.rms_norm_quantised import add_rms_norm_fp8, add_rms_norm_nvfp4
from neokernels.silu_mul import silu_mul
from neokernels.silu_mul_quantised import silu_mul_fp8, silu_mul_nvfp4

NORMS = [(add_rms_norm_fp8, fp8.quantise_activations), (add_rms_norm_nvfp4, nvfp4.quantise_activations)]
ACTIVATIONS = [(silu_mul_fp8, fp8.quantise_activations), (silu_mul_nvfp4, nvfp4.quantise_activations)]
PREFERRED: list[tuple[Numerics, bool]] = [("fast", False), ("fast", True), ("batch_invariant", False)]
"""(numerics, whether the reference answers)."""


def assert_same(quantised, expected) -> None:
    for name in expected.__slots__:
        part, wanted = getattr(quantised, name), getattr(expected, name)
        assert (
            torch.equal(part.view(torch.uint8), wanted.view(torch.uint8)) if torch.is_tensor(wanted) else part == wanted
        )


@pytest.mark.parametrize(("numerics", "reference"), PREFERRED)
@pytest.mark.parametrize(("fused", "quantise"), NORMS, ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm(fused, quantise, numerics, reference, dtype) -> None:
    x, residual, weight = torch.randn(5, 72, dtype=dtype), torch.randn(5, 72, dtype=dtype), torch.randn(72, dtype=dtype)
    registry, target = Registry(reference=reference), Target(x.device, dtype, numerics)
    normalised, expected_total = registry.resolve(add_rms_norm, target)(x, residual, weight, 1e-6)
    quantised, total = registry.resolve(fused, target)(x, residual, weight, 1e-6)
    assert torch.equal(total, expected_total)
    assert_same(quantised, quantise(normalised))


@pytest.mark.parametrize(("numerics", "reference"), PREFERRED)
@pytest.mark.parametrize(("fused", "quantise"), ACTIVATIONS, ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activation(fused, quantise, numerics, reference, dtype) -> None:
    gate_up = torch.randn(5, 144, dtype=dtype)
    registry, target = Registry(reference=reference), Target(gate_up.device, dtype, numerics)
    assert_same(registry.resolve(fused, target)(gate_up), quantise(registry.resolve(silu_mul, target)(gate_up)))


@pytest.mark.parametrize("columns", [1, 16, 100])
def test_nvfp4_tokens_come_back_within_half_a_step(columns: int) -> None:
    x = torch.randn(7, columns) * torch.logspace(-8, 8, 7)[:, None]
    x[3] = 0
    rows = nvfp4.quantise_activations(x)
    found = nvfp4.dequantise_activations(rows, torch.float32)
    blocks = torch.nn.functional.pad(x, (0, -columns % nvfp4.BLOCK)).view(7, -1, nvfp4.BLOCK)
    # Steps of elements are at most 2 of a scale that reaches 6 steps; the scale itself is rounded to four bits.
    step = (blocks.abs().amax(-1, keepdim=True) / 6 * (1 + 2**-4)).expand_as(blocks).flatten(1)[:, :columns]
    assert ((found - x).abs() <= step * 1.01 + x.abs() * 2**-4).all()
    assert (found[3] == 0).all()
    assert rows.nbytes == rows.codes.nbytes + rows.scales.nbytes + 7 * 4


@pytest.mark.parametrize("strange", [float("nan"), float("inf")])
def test_a_token_that_is_not_finite_is_nan_and_spoils_no_other(strange: float) -> None:
    x = torch.randn(3, 40)
    x[1, 20] = strange
    found = nvfp4.dequantise_activations(nvfp4.quantise_activations(x), torch.float32)
    assert found[1].isnan().all()
    assert found[[0, 2]].isfinite().all()
