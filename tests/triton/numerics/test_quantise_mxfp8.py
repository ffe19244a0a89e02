"""Tokens quantised to MXFP8: the bits of the reference."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.rows.quantise_mxfp8 import QUANTISE_MXFP8, MicroscaledRows, quantise_mxfp8
from neokernels.device import DATASHEET_DEVICES
from neokernels.formats.mx_rows import dequantise_activations, quantise_activations
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config

SCHEDULES = Schedules(DATASHEET_DEVICES[0])


@pytest.mark.parametrize(("rows", "width"), [(0, 64), (1, 1), (3, 100), (5, 700)])
def test_rows_are_those_of_the_reference(check, rows, width, dtype):
    check(QUANTISE_MXFP8, MicroscaledRows(rows, width, dtype))


@pytest.mark.parametrize(("rows", "columns"), [(2, 256), (4, 512), (8, 2048)])
def test_every_schedule_gives_the_same(check, rows, columns):
    check(QUANTISE_MXFP8, MicroscaledRows(7, 600, "float32"), Config(ROWS=rows, COLUMNS=columns, num_warps=4))


def test_scales_of_any_size_are_met(device):
    x = torch.randn(4, 256, device=device) * torch.tensor([[2.0**-140], [2.0**-60], [1], [2.0**120]], device=device)
    x[2, :32] = 0
    rows, expected = quantise_mxfp8(x, schedules=SCHEDULES), quantise_activations(x, "e4m3")
    assert torch.equal(rows.scales, expected.scales)
    assert torch.equal(rows.values.float(), expected.values.float())


def test_a_row_that_is_not_finite_is_lost_alone(device):
    x = torch.randn(3, 64, device=device)
    x[0, 3], x[1, 40] = torch.nan, torch.inf
    near = dequantise_activations(quantise_mxfp8(x, schedules=SCHEDULES), torch.float32)
    assert near[0, :32].isnan().all()
    assert near[1, 32:].isnan().all()
    assert near[2].isfinite().all()
