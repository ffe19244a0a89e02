"""Queries, keys and values normed, rotated and cached."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.rows.rope_kv_write import ROPE_KV_WRITE, RopeWrite, rope_kv_write
from neokernels.device import DATASHEET_DEVICES
from neokernels.formats.fp8 import E4M3
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config

SHAPES = [(1, 1, 1, 2), (3, 6, 1, 12), (7, 4, 2, 64), (5, 10, 3, 96)]
"""(tokens, query heads, KV heads, head dim)."""


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_queries_and_cache_are_those_of_the_reference(check, shape, norms, dtype):
    check(ROPE_KV_WRITE, RopeWrite(*shape, dtype, dtype, norms))


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_a_narrower_cache(check, shape, dtype):
    check(ROPE_KV_WRITE, RopeWrite(*shape, dtype, "float8_e4m3fn", norms=True), allowed=1.01)


@pytest.mark.parametrize("heads", [1, 2, 4, 8, 32])
def test_every_schedule_gives_the_same(check, heads):
    problem = RopeWrite(6, 5, 2, 20, "float32", "float32", norms=True)
    check(ROPE_KV_WRITE, problem, Config(HEADS=heads, num_warps=2))


def test_nothing_comes_of_no_tokens(device):
    cache = torch.zeros(1, 4, 2, 8, device=device)
    none = torch.empty(0, dtype=torch.int64, device=device)
    factors, qkv = torch.empty(0, 8, device=device), torch.empty(0, 64, device=device)
    query = rope_kv_write(qkv, factors, factors, none, cache, cache, None, schedules=Schedules(DATASHEET_DEVICES[0]))
    assert query.shape == (0, 4, 8)


def test_what_an_8_bit_cache_cannot_hold_is_its_largest(device):
    qkv = torch.tensor([[0.0, 0.0, 449.0, -1e6, float("inf"), float("nan")]], device=device)
    keys, values = (torch.zeros(1, 4, 1, 2, dtype=E4M3, device=device) for _ in range(2))
    factors = torch.ones(1, 2, device=device), torch.zeros(1, 2, device=device)
    slots = torch.tensor([2], device=device)
    rope_kv_write(qkv, *factors, slots, keys, values, None, schedules=Schedules(DATASHEET_DEVICES[0]))
    assert keys.float()[0, 2, 0].tolist() == [448.0, -448.0]
    assert values.float()[0, 2, 0, 0] == 448.0
    assert values.float()[0, 2, 0, 1].isnan()


def test_tokens_and_slots_may_lie_apart(device):
    wide = torch.randn(3, 100, device=device)
    pool = torch.zeros(4, 8, 2, 1, 16, device=device)
    cos, sin = torch.randn(3, 16, device=device), torch.randn(3, 16, device=device)
    slots, schedules = torch.tensor([9, 30, 4], device=device), Schedules(DATASHEET_DEVICES[0])
    query = rope_kv_write(wide[:, :64], cos, sin, slots, pool[:, :, 0], pool[:, :, 1], None, schedules=schedules)
    alone = torch.zeros(2, 4, 8, 1, 16, device=device)
    packed = wide[:, :64].contiguous()
    assert torch.equal(query, rope_kv_write(packed, cos, sin, slots, *alone.unbind(), None, schedules=schedules))
    assert torch.equal(pool.unbind(2)[0], alone[0])
    assert torch.equal(pool.unbind(2)[1], alone[1])
