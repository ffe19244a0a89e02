"""Attention over latents against the formula, on caches poisoned outside the contexts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from neokernels.cuda.attention.latent_attention import LATENT_ATTENTION, LatentAttention, LatentStep, latent_attention
from neokernels.cuda.attention.paged_attention import paged_attention
from neokernels.device import DATASHEET_DEVICES
from neokernels.paged_attention import PagedLayout
from neokernels.tuning.draw import Draw
from neokernels.tuning.schedules import Fixed
from neokernels.tuning.space import Config
from ragged import Lens, Ragged

HEADS = {"query_heads": 3, "kv_heads": 1, "key_dim": 32, "value_dim": 24, "block_tokens": 4}
CONFIG = Config(BLOCK_M=16, TILE=16, splits=1, num_warps=4, num_stages=2, launch_pdl=False)

DECODE = [(1, 1), (1, 37), (1, 16), (1, 17), (0, 0), (1, 2)]
MIXED = [(1, 40), (7, 7), (0, 0), (1, 1), (6, 33)]


class RaggedLatents(Ragged, LatentAttention): ...


def step(lens: Lens, **changes: Any) -> tuple[RaggedLatents, LatentStep]:
    bounds = {
        "tokens": sum(query_len for query_len, _ in lens),
        "requests": len(lens),
        "query_len": max(query_len for query_len, _ in lens),
        "context": max(context_len for _, context_len in lens),
    }
    return RaggedLatents(lens), LatentStep(**{**HEADS, "dtype": "float32", "kv_dtype": "float32", **bounds, **changes})


@pytest.mark.parametrize("splits", [1, 2, 64])
@pytest.mark.parametrize("lens", [DECODE, MIXED], ids=["decode", "mixed"])
def test_contexts_in_pieces(check, lens, splits):
    check(*step(lens), CONFIG.changed(splits=splits))


@pytest.mark.parametrize(("heads", "rows"), [(1, 16), (5, 16), (5, 64), (16, 16), (16, 32), (40, 16), (40, 32)])
def test_heads_fill_a_tile_or_several_or_a_part_of_one(check, heads, rows):
    check(*step([(1, 9), (4, 20)], query_heads=heads), CONFIG.changed(BLOCK_M=rows))


@pytest.mark.parametrize(("splits", "keys"), [(1, 32), (3, 16)])
@pytest.mark.parametrize("window", [0, 1, 5, 18, 100])
def test_windows_and_sinks(check, window, splits, keys):
    check(*step(MIXED, window=window, sinks=window != 5), CONFIG.changed(splits=splits, TILE=keys))


@pytest.mark.parametrize("dims", [(576, 512), (24, 16), (33, 25), (17, 16)])
def test_ranks_and_rotary_parts(check, dims):
    key_dim, value_dim = dims
    check(*step([(1, 20), (2, 3)], key_dim=key_dim, value_dim=value_dim, block_tokens=3), CONFIG)


@pytest.mark.parametrize(
    ("dtype", "kv_dtype"),
    [
        ("float16", "float16"),
        ("float16", "float8_e4m3fn"),
        ("float32", "float8_e4m3fn"),
        pytest.param("bfloat16", "bfloat16", marks=pytest.mark.gpu),
        pytest.param("bfloat16", "float8_e4m3fn", marks=pytest.mark.gpu),
    ],
)
def test_types(check, dtype, kv_dtype):
    check(*step(MIXED, dtype=dtype, kv_dtype=kv_dtype), CONFIG)


def test_its_own_schedule(check):
    check(*step(MIXED))


def test_more_requests_than_are_searched_at_once(check):
    check(*step([(0, 0)] * 60 + [(1, 1)] * 3 + [(0, 0)] * 66 + [(20, 20), (0, 0), (3, 30)]), CONFIG)


def test_a_prefill_whose_pieces_find_no_room_at_once(check, monkeypatch):
    monkeypatch.setattr("neokernels.cuda.attention.latent_attention._PIECE_BYTES", 4 * 3 * 24 * 2 * 5)
    check(*step(MIXED), CONFIG.changed(splits=2))


def test_paged_attention_knows_a_cache_of_latents(device):
    kernel, problem = step(MIXED)
    inputs, schedules = kernel.inputs(problem, Draw(device)), Fixed(DATASHEET_DEVICES[0], CONFIG)
    assert paged_attention(*inputs, schedules=schedules).equal(latent_attention(*inputs, schedules=schedules))


def test_nothing_comes_of_no_rows(check):
    check(*step([(0, 0)], context=1))


def attend(lens: Lens, inputs: tuple[Any, ...], rows: slice, batch_invariant: bool = True) -> torch.Tensor:
    """The `rows` of requests of one query and table each."""
    query, keys, values, layout, *others = inputs
    part = PagedLayout(
        tuple(query_len for query_len, _ in lens[rows]),
        tuple(context_len for _, context_len in lens[rows]),
        layout.block_tables[rows],
        layout.block_tokens,
    )
    schedules = Fixed(DATASHEET_DEVICES[0], CONFIG.changed(splits=256), batch_invariant=batch_invariant)
    return latent_attention(query[rows], keys, values, part, *others, schedules=schedules)


def test_a_row_is_the_same_bits_whatever_else_is_computed(device):
    lens = [(1, 37), (1, 1), (1, 60), (1, 16)]
    kernel, problem = step(lens, window=50, sinks=True)
    inputs = kernel.inputs(problem, Draw(device))
    whole = attend(lens, inputs, slice(None))
    for row, (_, context_len) in enumerate(lens):
        query, keys, values, layout, *others = inputs
        # Alone, and with a table that has room for its context only.
        tables = layout.block_tables[:, : -(-context_len // layout.block_tokens)]
        alone = (query, keys, values, PagedLayout((), (), tables, layout.block_tokens), *others)
        assert torch.equal(attend(lens, alone, slice(row, row + 1)), whole[row : row + 1])


def test_a_prompt_is_the_same_bits_however_it_is_cut_into_chunks(device):
    kernel, problem = step([(20, 20)], query_heads=16)
    query, keys, values, layout, *others = kernel.inputs(problem, Draw(device))
    schedules = Fixed(DATASHEET_DEVICES[0], CONFIG.changed(splits=256), batch_invariant=True)

    def chunk(first: int, end: int) -> torch.Tensor:
        part = PagedLayout((end - first,), (end,), layout.block_tables, layout.block_tokens)
        return latent_attention(query[first:end], keys, values, part, *others, schedules=schedules)

    whole = chunk(0, 20)
    assert torch.equal(torch.cat([chunk(0, 1), chunk(1, 17), chunk(17, 19), chunk(19, 20)]), whole)


def test_lengths_are_read_from_the_device_alone(check, device):
    """As in a CUDA graph: the host knows bounds only."""
    kernel, problem = step(MIXED)
    query, keys, values, layout, *others = kernel.inputs(problem, Draw(device))
    bounds = PagedLayout(
        (len(query), *[0] * (len(MIXED) - 1)),
        (len(query), *[0] * (len(MIXED) - 1)),
        layout.block_tables,
        layout.block_tokens,
        device_lengths=layout.on_device,
    )
    schedules = Fixed(DATASHEET_DEVICES[0], CONFIG.changed(splits=2))
    (known,) = LATENT_ATTENTION.run((query, keys, values, layout, *others), schedules)
    (replayed,) = LATENT_ATTENTION.run((query, keys, values, bounds, *others), schedules)
    assert torch.equal(known, replayed)
