"""Norms and activations that are quantised where they are made, against the formats applied to what is not."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.rows.quantise_rows import QUANTISE_ROWS, QuantisedRows, quantise_fp8, quantise_nvfp4
from neokernels.cuda.rows.rms_norm import add_rms_norm
from neokernels.cuda.rows.rms_norm_quantised import (
    RMS_NORM_QUANTISED,
    QuantisedRowNorm,
    add_rms_norm_fp8,
    add_rms_norm_nvfp4,
)
from neokernels.cuda.rows.row_quantisation import parts
from neokernels.cuda.rows.silu_mul import silu_mul
from neokernels.cuda.rows.silu_mul_quantised import SILU_MUL_QUANTISED, QuantisedGating, silu_mul_fp8, silu_mul_nvfp4
from neokernels.device import DATASHEET_DEVICES
from neokernels.formats import fp8, nvfp4
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config

DTYPES = [torch.float32, torch.float16, pytest.param(torch.bfloat16, marks=pytest.mark.gpu)]
SHAPES = [(1, 1), (3, 16), (5, 100), (2, 1000)]
SCHEDULES = Schedules(DATASHEET_DEVICES[0])
FORMS = {
    "fp8": (fp8.quantise_activations, add_rms_norm_fp8, silu_mul_fp8, quantise_fp8),
    "nvfp4": (nvfp4.quantise_activations, add_rms_norm_nvfp4, silu_mul_nvfp4, quantise_nvfp4),
}


def assert_same_bits(quantised, expected):
    for part, wanted in zip(parts(quantised), parts(expected), strict=True):
        assert part.dtype == wanted.dtype
        assert torch.equal(part.cpu().view(torch.uint8), wanted.view(torch.uint8))


def strange_rows(rows, width, dtype, device):
    """Of sizes from one end of the dtype to the other; the first is zero."""
    x = torch.randn(rows, width, device=device) * torch.logspace(-6, 4, rows, device=device)[:, None]
    x[0] = 0
    return x.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_norm_has_the_bits_of_one_that_is_quantised_afterwards(shape, form, dtype, device):
    quantise, fused, _, _ = FORMS[form]
    x, residual = (strange_rows(*shape, dtype, device) for _ in range(2))
    weight = torch.randn(shape[1], device=device).to(dtype)
    normalised, expected_total = add_rms_norm(x, residual, weight, 1e-6, schedules=SCHEDULES)
    quantised, total = fused(x, residual, weight, 1e-6, schedules=SCHEDULES)
    assert torch.equal(total, expected_total)
    assert_same_bits(quantised, quantise(normalised.cpu()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_activation_has_the_bits_of_one_that_is_quantised_afterwards(shape, form, dtype, device):
    quantise, _, fused, _ = FORMS[form]
    gate_up = strange_rows(shape[0], 2 * shape[1], dtype, device).clamp(-200, 200)
    expected = quantise(silu_mul(gate_up, schedules=SCHEDULES).cpu())
    assert_same_bits(fused(gate_up, schedules=SCHEDULES), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows_have_the_bits_of_the_format(shape, form, dtype, device):
    quantise, _, _, fused = FORMS[form]
    x = strange_rows(shape[0], 2 * shape[1], dtype, device)[:, : shape[1]]
    assert_same_bits(fused(x, schedules=SCHEDULES), quantise(x.cpu()))


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_every_schedule_is_as_near_as_the_reference(check, rows):
    config = Config(ROWS=rows, num_warps=4)
    check(RMS_NORM_QUANTISED, QuantisedRowNorm(5, 96, "float32", "fp8"), config, allowed=1.01)
    check(SILU_MUL_QUANTISED, QuantisedGating(5, 72, "float32", "fp8"), config, allowed=1.01)
    check(QUANTISE_ROWS, QuantisedRows(5, 40, "float32", "fp8"), config, allowed=1.01)


def test_codes_of_four_bits_round_to_even(device):
    """Every tie and what lies beside it, as gates so large that they are passed on times up."""
    magnitudes = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0])
    beside = torch.cat([magnitudes * (1 + error) for error in (-1e-6, 0.0, 1e-6)])
    up = torch.cat((beside, -beside)).view(-1, 8).repeat_interleave(2, 1).flatten()
    up = torch.where(torch.arange(len(up)) % 16 == 15, 6.0, up).view(-1, 16) / 64
    gate_up = torch.cat((torch.full_like(up, 64.0), up), -1).to(device)
    out = silu_mul(gate_up, schedules=SCHEDULES)
    assert_same_bits(silu_mul_nvfp4(gate_up, schedules=SCHEDULES), nvfp4.quantise_activations(out.cpu()))


@pytest.mark.parametrize("strange", [float("inf"), float("nan")])
@pytest.mark.parametrize("form", FORMS)
def test_a_row_that_is_not_finite_spoils_no_other(form, strange, device):
    _, _, fused, _ = FORMS[form]
    gate_up = torch.ones(3, 64, device=device)
    gate_up[1, 5] = strange
    widened = fp8.dequantise if form == "fp8" else nvfp4.dequantise_activations
    out = widened(fused(gate_up, schedules=SCHEDULES), torch.float32)
    assert out[1].isnan().all()
    assert out[[0, 2]].isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_nothing_comes_of_no_rows(form, device):
    _, norm, activation, alone = FORMS[form]
    none = torch.empty(0, 48, device=device)
    quantised, total = norm(none, none, torch.ones(48, device=device), 1e-6, schedules=SCHEDULES)
    assert total.shape == (0, 48)
    assert parts(quantised)[0].shape[0] == 0
    assert parts(activation(none, schedules=SCHEDULES))[0].shape[0] == 0
    assert parts(alone(none, schedules=SCHEDULES))[0].shape[0] == 0
