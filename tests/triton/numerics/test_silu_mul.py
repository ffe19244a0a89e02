"""The gated activations."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.rows.silu_mul import SILU_MUL, Gating, clamped_swiglu, silu_mul
from neokernels.device import DATASHEET_DEVICES
from neokernels.silu_mul import SwigluClamp
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config


@pytest.mark.parametrize("clamped", [False, True])
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 100), (2, 3000), (130, 24)])
def test_activation_is_that_of_the_reference(check, rows, width, clamped, dtype):
    check(SILU_MUL, Gating(rows, width, dtype, clamped))


@pytest.mark.parametrize("rows", [1, 2, 4, 8])
@pytest.mark.parametrize("columns", [256, 512])
def test_every_schedule_gives_the_same(check, rows, columns):
    check(SILU_MUL, Gating(5, 700, "float32", clamped=False), Config(ROWS=rows, COLUMNS=columns, num_warps=4))


@pytest.mark.parametrize("shape", [(0, 96), (4, 0)])
def test_nothing_comes_of_nothing(check, shape):
    check(SILU_MUL, Gating(*shape, "float32", clamped=True))


def test_extremes_are_those_of_the_formula(device):
    schedules = Schedules(DATASHEET_DEVICES[0])
    gates = torch.tensor([-1000.0, 1000.0, float("nan"), 0.0], device=device)
    gate_up = torch.cat((gates, torch.full_like(gates, 2.0)))[None]
    expected = torch.tensor([[-0.0, 2000.0, float("nan"), 0.0]], device=device)
    torch.testing.assert_close(silu_mul(gate_up, schedules=schedules), expected, equal_nan=True)
    clamped = clamped_swiglu(gate_up, SwigluClamp(1.0, 7.0), schedules=schedules)
    torch.testing.assert_close(clamped[0, 1], torch.tensor(21 / (1 + torch.e**-7.0)).to(device))
    assert clamped[0, 2].isnan()


def test_rows_may_lie_apart(device):
    wide = torch.randn(5, 300, device=device)
    out = silu_mul(wide[:, :200], schedules=Schedules(DATASHEET_DEVICES[0]))
    assert torch.equal(out, silu_mul(wide[:, :200].contiguous(), schedules=Schedules(DATASHEET_DEVICES[0])))
