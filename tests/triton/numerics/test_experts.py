"""The experts of a layer from sort to sum, held to the loop over experts in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from neokernels.cuda.experts.feed_forward import dense_experts, fp8_experts, int8_experts, mxfp4_experts, nvfp4_experts
from neokernels.device import DATASHEET_DEVICES
from neokernels.formats import mxfp4, nvfp4
from neokernels.linear import DenseLinear
from neokernels.linear_quantised import Fp8Linear, Int8Linear, WeightOnlyLinear
from neokernels.moe import NO_EXPERT, ExpertLoop, ExpertWeights, GatedActivation
from neokernels.silu_mul import SwigluClamp, clamped_swiglu_reference, silu_mul_reference
from neokernels.tuning.schedules import Schedules

EXPERTS, HIDDEN, INTERMEDIATE = 6, 40, 24
CLAMP = SwigluClamp(alpha=1.7, limit=1.2)
SCHEDULES = Schedules(DATASHEET_DEVICES[0])


def weights(device, *, biased=True):
    def drawn(*shape):
        return torch.randn(shape, device=device) * shape[-1] ** -0.5

    gate_up, down = drawn(EXPERTS, 2 * INTERMEDIATE, HIDDEN), drawn(EXPERTS, HIDDEN, INTERMEDIATE)
    if not biased:
        return ExpertWeights(gate_up, down)
    return ExpertWeights(gate_up, down, drawn(EXPERTS, 2 * INTERMEDIATE), drawn(EXPERTS, HIDDEN))


def activation(clamp):
    return GatedActivation(
        silu_mul_reference if clamp is None else partial(clamped_swiglu_reference, clamp=clamp), clamp
    )


def double(weights):
    return ExpertWeights(*(None if part is None else part.double() for part in weights))


def routes(case, device):
    ids = torch.randn(23, EXPERTS, device=device).topk(2).indices
    if case == "all to one":
        ids = torch.full((40, 1), 3, device=device)
    elif case == "one expert a row":
        ids = ids[:, :1]
    elif case == "some without rows":
        ids = ids.clamp(max=2)
    elif case == "one row":
        ids = ids[:1]
    elif case == "some nowhere":
        ids[5:20] = NO_EXPERT
        ids[2, 1] = NO_EXPERT
    elif case == "all nowhere":
        ids[:] = NO_EXPERT
    elif case == "no rows":
        ids = ids[:0]
    return ids


CASES = [
    "uniform",
    "all to one",
    "one expert a row",
    "some without rows",
    "one row",
    "some nowhere",
    "all nowhere",
    "no rows",
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("clamp", [None, CLAMP], ids=["plain", "clamped"])
def test_experts_are_those_of_the_loop(device, case, clamp):
    parts, ids = weights(device, biased=clamp is not None), routes(case, device)
    x, shares = torch.randn(len(ids), HIDDEN, device=device), torch.rand(ids.shape, device=device)
    x[(ids == NO_EXPERT).all(1)] = torch.nan
    ours = dense_experts(parts, activation(clamp), DenseLinear, schedules=SCHEDULES)
    loop = ExpertLoop(double(parts), activation(clamp), DenseLinear)
    result = ours(x, ids, shares)
    assert result.dtype == x.dtype
    torch.testing.assert_close(result.double(), loop(x.double(), ids, shares), atol=1e-5, rtol=1e-5)
    assert int(ours.touched) == int(loop.touched) == len(set(ids.flatten().tolist()) - {NO_EXPERT})


@pytest.mark.parametrize(
    ("prepare", "reference", "error"),
    [
        (int8_experts, Int8Linear, 1e-5),
        (fp8_experts, Fp8Linear, 1e-2),  # what one rounds up to the next e4m3, the other may round down
        (mxfp4_experts, partial(WeightOnlyLinear, mxfp4.quantise, mxfp4.dequantise), 1e-5),
        (nvfp4_experts, partial(WeightOnlyLinear, nvfp4.quantise, nvfp4.dequantise), 1e-5),
    ],
    ids=["int8", "fp8", "mxfp4", "nvfp4"],
)
def test_quantised_experts(device, prepare, reference, error):
    parts, ids = weights(device), routes("some nowhere", device)[:8]
    x, shares = torch.randn(len(ids), HIDDEN, device=device), torch.rand(ids.shape, device=device)
    ours = prepare(parts, activation(CLAMP), reference, schedules=SCHEDULES)
    loop = ExpertLoop(parts, activation(CLAMP), reference)
    torch.testing.assert_close(ours(x, ids, shares), loop(x, ids, shares), atol=error, rtol=error)
    assert ours.bytes_per_expert == ours.nbytes // EXPERTS >= loop.bytes_per_expert


@pytest.mark.gpu  # what multiplies for the interpreter promises no such thing
def test_a_row_keeps_its_bits_whatever_others_there_are(device):
    schedules = Schedules(DATASHEET_DEVICES[0], batch_invariant=True)
    parts = ExpertWeights(*(part if part is None else part.bfloat16() for part in weights(device)))
    ours = dense_experts(parts, activation(None), DenseLinear, schedules=schedules)
    ids = routes("uniform", device)
    x, shares = torch.randn(len(ids), HIDDEN, device=device).bfloat16(), torch.rand(ids.shape, device=device)
    together = ours(x, ids, shares)
    for first, last in ((0, 1), (3, 7), (5, 23)):
        assert ours(x[first:last].clone(), ids[first:last], shares[first:last]).equal(together[first:last])


def test_narrow_answers_are_added_up_wide(device):
    """2048 in float16 swallows each 1 that is added to it; their sum in float32 does not."""
    gate_up, down, bias = torch.zeros(3, 16, 8), torch.zeros(3, 8, 8), torch.ones(3, 8)
    parts = ExpertWeights(*(part if part is None else part.half().to(device) for part in (gate_up, down, None, bias)))
    ours = dense_experts(parts, activation(None), DenseLinear, schedules=SCHEDULES)
    x, ids = torch.ones(1, 8, device=device).half(), torch.tensor([[0, 1, 2]], device=device)
    assert ours(x, ids, torch.tensor([[2048.0, 1.0, 1.0]], device=device)).tolist() == [[2050.0] * 8]
