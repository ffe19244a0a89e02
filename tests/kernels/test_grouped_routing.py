"""The router of groups against its definition, one row and one expert at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from neokernels.grouped_routing import route_grouped
from neokernels.registry import Target


def by_definition(
    logits: list[float], bias: list[float], k: int, groups: int, chosen: int, normalise: bool, scaling: float
) -> dict[int, float]:
    """Weights by expert."""
    scores = [1 / (1 + math.exp(-logit)) for logit in logits]
    choice = [score + b for score, b in zip(scores, bias, strict=True)]
    size = len(logits) // groups
    members = [range(group * size, (group + 1) * size) for group in range(groups)]
    best = sorted(members, key=lambda group: -sum(sorted((choice[e] for e in group), reverse=True)[:2]))[:chosen]
    experts = sorted((expert for group in best for expert in group), key=lambda expert: -choice[expert])[:k]
    total = sum(scores[expert] for expert in experts) if normalise else 1.0
    return {expert: scores[expert] / total * scaling for expert in experts}


@st.composite
def routers(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Experts, groups, groups chosen, experts chosen."""
    groups, size = draw(st.integers(1, 4)), draw(st.integers(2, 4))
    chosen = draw(st.integers(1, groups))
    return groups * size, groups, chosen, draw(st.integers(1, chosen * size))


@settings(max_examples=60, deadline=None)
@given(routers(), st.booleans(), st.integers(0, 2**31), st.sampled_from(["fast", "batch_invariant"]))
def test_groups_first_then_experts_among_theirs(
    router: tuple[int, int, int, int], normalise: bool, seed: int, numerics: str
) -> None:
    experts, groups, chosen, k = router
    generator = torch.Generator().manual_seed(seed)
    logits, bias = torch.randn(6, experts, generator=generator), torch.randn(experts, generator=generator)
    invariant = Target(torch.device("cpu"), torch.float32, "fast" if numerics == "fast" else "batch_invariant")
    route, _ = route_grouped.choose(invariant)
    expert_ids, weights = route(logits, bias, k, groups, chosen, normalise, 2.5)
    for row, ids, given_weights in zip(logits.tolist(), expert_ids.tolist(), weights.tolist(), strict=True):
        expected = by_definition(row, bias.tolist(), k, groups, chosen, normalise, 2.5)
        assert dict(zip(ids, given_weights, strict=True)) == pytest.approx(expected, rel=1e-5)


def test_the_bias_steers_the_choice_and_not_the_weights() -> None:
    logits = torch.zeros(1, 4)
    expert_ids, weights = route_grouped(logits, torch.tensor([0.0, 0.0, 0.0, 5.0]), 1, 2, 1, False, 1.0)
    assert expert_ids.tolist() == [[3]]
    assert weights.tolist() == [[0.5]]
