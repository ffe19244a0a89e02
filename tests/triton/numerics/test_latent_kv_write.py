"""Latents normed, rotated and cached."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda.rows.latent_kv_write import LATENT_KV_WRITE, LatentWrite, latent_kv_write
from neokernels.device import DATASHEET_DEVICES
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config

SHAPES = [(1, 1, 1, 2), (4, 3, 5, 6), (7, 9, 100, 16)]
"""(tokens, heads, rank, rotary dim)."""


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_queries_and_cache_are_those_of_the_reference(check, shape, dtype):
    check(LATENT_KV_WRITE, LatentWrite(*shape, dtype, dtype))


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_a_narrower_cache(check, shape, dtype):
    check(LATENT_KV_WRITE, LatentWrite(*shape, dtype, "float8_e4m3fn"), allowed=1.01)


@pytest.mark.parametrize("heads", [4, 8, 64])
def test_every_schedule_gives_the_same(check, heads):
    check(LATENT_KV_WRITE, LatentWrite(3, 9, 24, 8, "float32", "float32"), Config(HEADS=heads, num_warps=2))


def test_nothing_comes_of_no_tokens(device):
    query, latent = torch.empty(0, 4, 6, device=device), torch.empty(0, 11, device=device)
    factors, slots = torch.empty(0, 6, device=device), torch.empty(0, dtype=torch.int64, device=device)
    cache, weight = torch.zeros(1, 4, 1, 11, device=device), torch.zeros(5, device=device)
    schedules = Schedules(DATASHEET_DEVICES[0])
    out = latent_kv_write(query, latent, factors, factors, slots, cache, weight, 1e-6, schedules=schedules)
    assert out.shape == (0, 4, 6)
