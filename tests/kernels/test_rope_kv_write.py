"""q/k-norm, rotation and cache write against plain loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from neokernels.rope_kv_write import QkNorm, rope_kv_write, rotary_factors
from torch import Tensor

BLOCK_TOKENS = 4
THETA = 100.0


def frequencies(head_dim: int) -> Tensor:
    return torch.tensor([THETA ** (-2 * i / head_dim) for i in range(head_dim // 2)])


def normalise(head: Tensor, weight: Tensor, eps: float) -> Tensor:
    return head / math.sqrt(float((head * head).mean()) + eps) * weight.double()


def rotate(head: Tensor, position: int) -> Tensor:
    """Each pair (x_i, x_{i + D/2}) turned as a complex number."""
    half = len(head) // 2
    angles = position * frequencies(len(head)).double()
    turned = torch.complex(head[:half], head[half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((turned.real, turned.imag))


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize(
    ("tokens", "query_heads", "kv_heads", "head_dim"), [(1, 1, 1, 2), (5, 4, 2, 8), (3, 6, 1, 6), (9, 2, 2, 16)]
)
def test_formula(tokens: int, query_heads: int, kv_heads: int, head_dim: int, normed: bool) -> None:
    qkv = torch.randn(tokens, (query_heads + 2 * kv_heads) * head_dim)
    positions = torch.randint(0, 300, (tokens,))
    slots = torch.randperm(16 * BLOCK_TOKENS)[:tokens]
    keys = torch.full((16, BLOCK_TOKENS, kv_heads, head_dim), float("nan"))
    values = keys.clone()
    qk_norm = QkNorm(torch.randn(head_dim), torch.randn(head_dim), 1e-6) if normed else None
    cos, sin = rotary_factors(positions, frequencies(head_dim), torch.float32)
    query = rope_kv_write(qkv, cos, sin, slots, keys, values, qk_norm)

    heads = qkv.double().view(tokens, -1, head_dim)
    for token in range(tokens):
        slot = int(slots[token])
        for head in range(query_heads + kv_heads):
            vector = heads[token, head]
            is_query = head < query_heads
            if qk_norm is not None:
                vector = normalise(vector, qk_norm.query_weight if is_query else qk_norm.key_weight, qk_norm.eps)
            expected = rotate(vector, int(positions[token]))
            written = keys.flatten(0, 1)[slot]
            found = query[token, head] if is_query else written[head - query_heads]
            torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)
        assert values.flatten(0, 1)[slot].double().equal(heads[token, query_heads + kv_heads :])
    for cache in (keys, values):
        untouched = torch.ones(16 * BLOCK_TOKENS, dtype=torch.bool)
        untouched[slots] = False
        assert cache.flatten(0, 1)[untouched].isnan().all()


@pytest.mark.parametrize("slots", [[5, -1, 2], [-1, -1, -1]])
def test_slot_of_minus_one_writes_nothing(slots: list[int]) -> None:
    keys = torch.full((2, BLOCK_TOKENS, 1, 4), float("nan"))
    values = keys.clone()
    cos, sin = rotary_factors(torch.arange(3), frequencies(4), torch.float32)
    query = rope_kv_write(torch.randn(3, 3 * 4), cos, sin, torch.tensor(slots), keys, values, None)
    assert query.isfinite().all()
    written = sorted(slot for slot in slots if slot >= 0)
    for cache in (keys, values):
        assert cache.flatten(0, 1).isfinite().all(-1).squeeze(-1).nonzero().flatten().tolist() == written


def test_rotation_depends_on_the_distance_alone() -> None:
    """What rotary embedding is for: q·k after rotation is the same for every pair of positions equally far apart."""
    q, k = torch.randn(8), torch.randn(8)

    def product(query_position: int, key_position: int) -> float:
        cos, sin = rotary_factors(torch.tensor([query_position, key_position]), frequencies(8), torch.float32)
        keys = torch.empty(1, 2, 1, 8)
        query = rope_kv_write(
            torch.stack([torch.cat((q, k, k))] * 2), cos, sin, torch.tensor([0, 1]), keys, keys.clone(), None
        )
        return float(query[0, 0] @ keys[0, 1, 0])

    assert product(7, 3) == pytest.approx(product(104, 100), abs=1e-4)
    assert product(7, 3) != pytest.approx(product(7, 5), abs=1e-3)
