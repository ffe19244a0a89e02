"""Routing and experts against their formulas in float64, row by row."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from neokernels.launcher import Launcher
from neokernels.linear import DenseLinear
from neokernels.moe import (
    NO_EXPERT,
    ExpertLoop,
    Experts,
    ExpertWeights,
    GatedActivation,
    GroupedExperts,
    prepare_experts,
    route_softmax,
)
from neokernels.registry import Target
from neokernels.silu_mul import SwigluClamp, clamped_swiglu, silu_mul
from neokernels.tuning.schedules import untuned
from torch import Tensor

EXPERTS, HIDDEN, INTERMEDIATE = 5, 12, 8
CLAMP = SwigluClamp(alpha=1.7, limit=1.2)


@pytest.fixture(params=[True, False], ids=["biased", "unbiased"])
def weights(request: pytest.FixtureRequest) -> ExpertWeights:
    gate_up, down = torch.randn(EXPERTS, 2 * INTERMEDIATE, HIDDEN), torch.randn(EXPERTS, HIDDEN, INTERMEDIATE)
    if not request.param:
        return ExpertWeights(gate_up, down)
    return ExpertWeights(gate_up, down, torch.randn(EXPERTS, 2 * INTERMEDIATE), torch.randn(EXPERTS, HIDDEN))


Prepare = Callable[..., Experts]


@pytest.fixture(params=[ExpertLoop, GroupedExperts])
def prepare(request: pytest.FixtureRequest) -> Prepare:
    def prepared(weights: ExpertWeights, clamp: SwigluClamp | None = None) -> Experts:
        activate = silu_mul if clamp is None else partial(clamped_swiglu, clamp=clamp)
        experts: Experts = request.param(weights, GatedActivation(activate, clamp), DenseLinear)
        return experts

    return prepared


def gated(gate_up: Tensor, clamp: SwigluClamp | None) -> Tensor:
    gate, up = gate_up[:INTERMEDIATE], gate_up[INTERMEDIATE:]
    if clamp is None:
        return gate / (1 + torch.exp(-gate)) * up
    gate, up = gate.minimum(torch.tensor(clamp.limit)), up.clamp(-clamp.limit, clamp.limit)
    return gate / (1 + torch.exp(-clamp.alpha * gate)) * (up + 1)


def formula(weights: ExpertWeights, x: Tensor, ids: Tensor, shares: Tensor, clamp: SwigluClamp | None) -> Tensor:
    gate_up, down, gate_up_bias, down_bias = (None if part is None else part.double() for part in weights)
    assert gate_up is not None
    assert down is not None
    expected = torch.zeros(x.shape, dtype=torch.float64)
    for row, vector in enumerate(x.double()):
        for expert, share in zip(ids[row].tolist(), shares[row].tolist(), strict=True):
            if expert != NO_EXPERT:
                inner = gate_up[expert] @ vector + (0 if gate_up_bias is None else gate_up_bias[expert])
                answer = down[expert] @ gated(inner, clamp) + (0 if down_bias is None else down_bias[expert])
                expected[row] += share * answer
    return expected


def choose(rows: int, per_row: int) -> Tensor:
    return torch.stack([torch.randperm(EXPERTS)[:per_row] for _ in range(rows)])


@pytest.mark.parametrize("clamp", [None, CLAMP], ids=["plain", "clamped"])
@pytest.mark.parametrize(("rows", "per_row"), [(1, 1), (1, 3), (6, 2), (40, 5)])
def test_each_row_gets_its_experts_by_weight(
    weights: ExpertWeights, prepare: Prepare, rows: int, per_row: int, clamp: SwigluClamp | None
) -> None:
    x, ids, shares = torch.randn(rows, HIDDEN), choose(rows, per_row), torch.rand(rows, per_row)
    result = prepare(weights, clamp)(x, ids, shares)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), formula(weights, x, ids, shares, clamp), atol=1e-4, rtol=1e-4)


def test_a_row_without_experts_is_zero_and_touches_none(weights: ExpertWeights, prepare: Prepare) -> None:
    experts = prepare(weights)
    x, ids, shares = torch.randn(4, HIDDEN), choose(4, 2), torch.rand(4, 2)
    x[2] = torch.nan
    ids[2] = NO_EXPERT
    ids[0, 1] = NO_EXPERT
    result = experts(x, ids, shares)
    assert result[2].equal(torch.zeros(HIDDEN))
    live = [0, 1, 3]
    torch.testing.assert_close(
        result[live].double(), formula(weights, x[live], ids[live], shares[live], None), atol=1e-4, rtol=1e-4
    )
    assert int(experts.touched) == len(set(ids.flatten().tolist()) - {NO_EXPERT})


def test_rows_that_all_go_nowhere(weights: ExpertWeights, prepare: Prepare) -> None:
    experts = prepare(weights)
    assert experts(torch.randn(3, HIDDEN), torch.full((3, 2), NO_EXPERT), torch.rand(3, 2)).equal(
        torch.zeros(3, HIDDEN)
    )
    assert experts(torch.empty(0, HIDDEN), torch.empty(0, 2, dtype=torch.int64), torch.empty(0, 2)).shape == (0, HIDDEN)
    assert int(experts.touched) == 0


def test_touched_counts_an_expert_once_a_call(weights: ExpertWeights, prepare: Prepare) -> None:
    experts = prepare(weights)
    for rows, ids in ((3, [[0, 4], [4, 0], [0, 1]]), (1, [[4, 2]])):
        experts(torch.randn(rows, HIDDEN), torch.tensor(ids), torch.rand(rows, 2))
    assert int(experts.touched) == 3 + 2


def test_bytes(weights: ExpertWeights, prepare: Prepare) -> None:
    experts = prepare(weights)
    assert experts.nbytes == sum(part.nbytes for part in weights if part is not None)
    assert experts.bytes_per_expert * EXPERTS == experts.nbytes


def test_narrow_rows_are_added_up_wide(prepare: Prepare) -> None:
    """256 in bfloat16 swallows each 1 that is added to it; their sum in float32 does not."""
    gate_up, down, bias = torch.zeros(3, 16, 8), torch.zeros(3, 8, 8), torch.ones(3, 8)
    experts = prepare(ExpertWeights(gate_up.bfloat16(), down.bfloat16(), None, bias.bfloat16()))
    result = experts(torch.ones(1, 8).bfloat16(), torch.tensor([[0, 1, 2]]), torch.tensor([[256.0, 1.0, 1.0]]))
    assert result.dtype == torch.bfloat16
    assert result.tolist() == [[258.0] * 8]


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("per_row", [1, 3])
def test_softmax_routing(per_row: int, normalise: bool) -> None:
    logits = torch.randn(6, EXPERTS) * 3
    ids, shares = route_softmax(logits, per_row, normalise)
    assert ids.dtype == torch.int64
    assert shares.dtype == torch.float32
    for row, chosen, share in zip(logits.double(), ids.tolist(), shares, strict=True):
        assert chosen == sorted(range(EXPERTS), key=lambda expert: -float(row[expert]))[:per_row]
        expected = torch.exp(row[chosen]) / (torch.exp(row[chosen]).sum() if normalise else torch.exp(row).sum())
        torch.testing.assert_close(share.double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("experts", [3, 8, 33, 128])
def test_routing_keeps_the_bits_of_a_row_whatever_others_there_are(experts: int) -> None:
    logits = torch.randn(50, experts)
    together = route_softmax(logits, 3, True)
    for first, last in ((0, 1), (7, 8), (3, 20), (17, 50)):
        for all_rows, rows in zip(together, route_softmax(logits[first:last].clone(), 3, True), strict=True):
            assert rows.equal(all_rows[first:last])


def test_clamped_swiglu_far_from_zero() -> None:
    """The gate has no lower bound, where its sigmoid is 0; the upper bound and both of up's hold."""
    result = clamped_swiglu(torch.tensor([[-1000.0, 1000.0, 1000.0, 5.0, 5.0, -1000.0]]), SwigluClamp(1.702, 7.0))
    seven = 7.0 / (1 + torch.exp(torch.tensor(-1.702 * 7.0)).item())
    assert result[0].tolist() == pytest.approx([0.0, seven * 6, seven * -6])


@pytest.mark.gpu
@pytest.mark.parametrize("implementation", ["triton", "grouped"])
def test_a_cuda_graph_holds_the_experts(implementation: str) -> None:
    """Replayed with other rows and other experts, they answer and count as the loop does."""
    device, dtype = torch.device("cuda", 0), torch.bfloat16
    create, choice = prepare_experts.choose(Target(device, dtype), preferred=implementation)
    assert choice.implementation == implementation
    if isinstance(create, Launcher):
        create = create.bound(untuned(device))
    gate_up, down = torch.randn(8, 2 * 64, 128, device=device), torch.randn(8, 128, 64, device=device)
    weights = ExpertWeights((gate_up / 8).to(dtype), (down / 8).to(dtype))
    grouped, loop = (made(weights, GatedActivation(silu_mul), DenseLinear) for made in (create, ExpertLoop))
    x = torch.randn(16, 128, device=device, dtype=dtype)
    ids, shares = torch.zeros(16, 2, dtype=torch.int64, device=device), torch.rand(16, 2, device=device)
    grouped(x, ids, shares)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = grouped(x, ids, shares)
    for live in (16, 3):
        x.normal_()
        ids.copy_(torch.stack([torch.randperm(8)[:2] for _ in range(16)]))
        ids[live:] = NO_EXPERT
        before = int(grouped.touched), int(loop.touched)
        graph.replay()
        torch.testing.assert_close(result, loop(x, ids, shares), atol=2e-2, rtol=2e-2)
        assert int(grouped.touched) - before[0] == int(loop.touched) - before[1]
