"""Projections of a whole step: few rows and many, dense and in eight bits."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.projections.linear import TritonFp8Linear, TritonLinear
from neokernels.device import DATASHEET_DEVICES
from neokernels.formats import fp8
from neokernels.linear import DenseLinear
from neokernels.linear_quantised import Fp8Linear
from neokernels.tuning.schedules import Schedules

ROWS = [0, 1, 64, 65]


@pytest.mark.parametrize("batch_invariant", [False, True])
@pytest.mark.parametrize("triton_linear", [TritonLinear, TritonFp8Linear])
def test_projections_are_those_of_the_reference(device, triton_linear, batch_invariant):
    reference = {TritonLinear: DenseLinear, TritonFp8Linear: Fp8Linear}[triton_linear]
    schedules = Schedules(DATASHEET_DEVICES[0], batch_invariant=batch_invariant)
    weight, bias = torch.randn(70, 144, device=device).half(), torch.randn(70, device=device).half()
    ours, known = triton_linear(weight, bias, schedules=schedules), reference(weight, bias)
    assert ours.nbytes == known.nbytes
    for rows in ROWS:
        x = torch.randn(rows, 144, device=device).half()
        torch.testing.assert_close(ours(x), known(x), rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize("rows", ROWS)
def test_tokens_may_come_quantised(device, rows):
    weight, x = torch.randn(70, 144, device=device).half(), torch.randn(rows, 144, device=device).half()
    linear = TritonFp8Linear(weight, schedules=Schedules(DATASHEET_DEVICES[0]))
    assert linear.multiply_fp8(fp8.quantise_activations(x)).equal(linear(x))
