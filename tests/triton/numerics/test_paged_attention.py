"""Paged attention's kernels against the formula, on caches poisoned outside the contexts, and what chooses between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from neokernels.cuda.attention.paged_attention import paged_attention
from neokernels.cuda.attention.paged_decode import PAGED_DECODE, PagedDecode, PagedDecodeAttention, attend_few
from neokernels.cuda.attention.paged_prefill import PAGED_PREFILL, PagedPrefill, PagedPrefillAttention
from neokernels.device import DATASHEET_DEVICES, cuda_device
from neokernels.paged_attention import DeviceLengths, PagedLayout
from neokernels.tuning.draw import Draw
from neokernels.tuning.schedules import Fixed, Schedules
from neokernels.tuning.space import Config
from ragged import Lens, Ragged
from triton.runtime import interpreter

HEADS = {"query_heads": 4, "kv_heads": 2, "key_dim": 32, "value_dim": 32, "block_tokens": 16}
FLOAT32 = {"dtype": "float32", "kv_dtype": "float32"}
FLOAT16 = {"dtype": "float16", "kv_dtype": "float16"}

DECODES = [(1, 1), (1, 37), (1, 16), (1, 17), (1, 150), (1, 2)]
VERIFIED = [(4, 4), (4, 70), (4, 33), (1, 20), (3, 100)]
"""A few tokens a request, as where drafts are verified."""
PADDED = [(1, 40), (0, 0), (1, 9), (0, 0)]
"""With requests that only fill a graph."""
MIXED = [(1, 40), (19, 19), (0, 0), (33, 80), (1, 3), (7, 150)]


class FewQueries(Ragged, PagedDecodeAttention): ...


class AnyQueries(Ragged, PagedPrefillAttention): ...


def decode(lens: Lens, **changes: Any) -> tuple[FewQueries, PagedDecode]:
    step = {"requests": len(lens), "context": max(c for _, c in lens), "query_len": max(q for q, _ in lens)}
    return FewQueries(lens), PagedDecode(**{**HEADS, **FLOAT32, **step, **changes})


def mixed(lens: Lens, **changes: Any) -> tuple[AnyQueries, PagedPrefill]:
    step = {"tokens": sum(q for q, _ in lens), "requests": len(lens), "context": max(c for _, c in lens)}
    return AnyQueries(lens), PagedPrefill(**{**HEADS, **FLOAT32, **step, **changes})


DECODE = Config(TILE=32, splits=3, num_warps=4, num_stages=3, launch_pdl=False)
PREFILL = Config(BLOCK_M=32, TILE=32, num_warps=4, num_stages=2)
BOTH = pytest.mark.parametrize(("step", "config"), [(decode, DECODE), (mixed, PREFILL)], ids=["decode", "any step"])


@pytest.mark.parametrize(
    ("lens", "dtypes"),
    [(DECODES, FLOAT32), (VERIFIED, FLOAT16), (PADDED, FLOAT32)],
    ids=["decodes", "verified", "padded"],
)
@BOTH
def test_few_queries(check, step, config, lens, dtypes):
    check(*step(lens, **dtypes), config)


@pytest.mark.parametrize("dtypes", [FLOAT32, FLOAT16], ids=["float32", "float16"])
def test_any_queries(check, dtypes):
    check(*mixed(MIXED, **dtypes), PREFILL)


@pytest.mark.parametrize("splits", [2, 64])
def test_any_number_of_pieces(check, splits):
    check(*decode(DECODES, sinks=True), DECODE.changed(splits=splits, TILE=16))


@pytest.mark.parametrize(("window", "sinks"), [(1, True), (3, False), (33, True), (1000, False)])
@BOTH
def test_windows_and_sinks(check, step, config, window, sinks):
    check(*step(VERIFIED, window=window, sinks=sinks), config.changed(TILE=16))


@pytest.mark.parametrize(("query_heads", "kv_heads"), [(3, 3), (8, 1), (10, 2)])
@BOTH
def test_groups_of_query_heads(check, step, config, query_heads, kv_heads):
    check(*step([(2, 35), (1, 9)], query_heads=query_heads, kv_heads=kv_heads), config)


@pytest.mark.parametrize("block_tokens", [4, 64])
@BOTH
def test_blocks_shorter_and_longer_than_tiles(check, step, config, block_tokens):
    check(*step([(2, 70), (1, 31)], block_tokens=block_tokens), config)


@pytest.mark.parametrize(("key_dim", "value_dim"), [(24, 16), (8, 40)])
@BOTH
def test_heads_of_odd_dimensions(check, step, config, key_dim, value_dim):
    check(*step([(2, 35), (1, 9)], key_dim=key_dim, value_dim=value_dim), config)


@BOTH
def test_caches_in_eight_bits(check, step, config):
    check(*step([(2, 35), (1, 9)], dtype="float16", kv_dtype="float8_e4m3fn"), config)


@pytest.mark.gpu
@pytest.mark.parametrize("kv_dtype", ["bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize("window", [0, 128])
@pytest.mark.parametrize("step", [decode, mixed], ids=["decode", "any step"])
def test_schedules_of_thumb(check, step, window, kv_dtype):
    heads = {"query_heads": 32, "kv_heads": 8, "key_dim": 128, "value_dim": 128}
    lens = [(1, 1), (4, 1300), (2, 77), (8, 4099)]
    check(*step(lens, **heads, window=window, sinks=window > 0, dtype="bfloat16", kv_dtype=kv_dtype))


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", [PAGED_DECODE, PAGED_PREFILL], ids=lambda kernel: kernel.name)
def test_what_is_shipped(check, kernel):
    for problem in kernel.examples:
        check(kernel, replace(problem, requests=min(problem.requests, 8)))


def test_lengths_are_read_on_the_device(device):
    """As where a graph is replayed: the host knows bounds, and what it computed with others is not what is there."""
    kernel, problem = decode(VERIFIED)
    query, keys, values, layout, *rest = kernel.inputs(problem, Draw(device))
    width = layout.block_tables.shape[1]
    bounds = PagedLayout((4,) * len(VERIFIED), (4,) * len(VERIFIED), layout.block_tables, layout.block_tokens)
    captured = replace(bounds, device_lengths=DeviceLengths(*layout.on_device))
    assert bounds.context_lens != layout.context_lens
    assert width * layout.block_tokens >= max(layout.context_lens)
    schedules = Fixed(DATASHEET_DEVICES[0], DECODE)
    for attend in (attend_few, paged_attention):
        replayed = attend(query, keys, values, captured, *rest, schedules=schedules)
        assert replayed.equal(attend(query, keys, values, layout, *rest, schedules=schedules))


@pytest.mark.parametrize("lens", [[(0, 0)], []])
def test_nothing_comes_of_no_queries(device, lens):
    kernel, problem = decode([(1, 1)])
    query, keys, values, layout, *rest = kernel.inputs(problem, Draw(device))
    empty = PagedLayout(
        tuple(q for q, _ in lens), tuple(c for _, c in lens), layout.block_tables[: len(lens)], layout.block_tokens
    )
    assert (
        paged_attention(query[:0], keys, values, empty, *rest, schedules=Schedules(DATASHEET_DEVICES[0])).numel() == 0
    )


@pytest.fixture
def _rows_by_themselves(device, monkeypatch) -> None:
    """As tensor cores compute them; the sums of a CPU's library depend on where in a product a row lies."""
    if device.type != "cpu":
        return

    def product(_: Any, a: Any, b: Any, total: Any, *__: Any) -> Any:
        return interpreter.TensorHandle(np.einsum("ik,kj->ij", a.data, b.data) + total.data, total.dtype.scalar)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", product)


@pytest.mark.usefixtures("_rows_by_themselves")
@pytest.mark.parametrize(("window", "sinks"), [(None, False), (20, True)])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.gpu)])
def test_a_token_keeps_its_bits_where_that_is_promised(device, dtype, window, sinks):
    """One prompt computed at once, in chunks and token by token, alone and beside others."""
    kernel, problem = mixed([(70, 70), (1, 50)], sinks=sinks, dtype=dtype, kv_dtype=dtype)
    query, keys, values, layout, scale, _, logits = kernel.inputs(problem, Draw(device))
    schedules = Schedules(DATASHEET_DEVICES[0] if device.type == "cpu" else cuda_device(0), batch_invariant=True)

    def attended(first: int, end: int, *, beside: bool) -> torch.Tensor:
        lens = [(end - first, end)] + ([(1, 50)] if beside else [])
        rows = torch.cat((query[first:end], query[70:])) if beside else query[first:end]
        step = PagedLayout(
            tuple(q for q, _ in lens),
            tuple(c for _, c in lens),
            layout.block_tables[: len(lens)],
            layout.block_tokens,
        )
        return paged_attention(rows, keys, values, step, scale, window, logits, schedules=schedules)[: end - first]

    whole = attended(0, 70, beside=False)
    for first, end, beside in ((0, 1, True), (0, 33, False), (33, 70, True), (69, 70, False), (13, 14, True)):
        assert attended(first, end, beside=beside).equal(whole[first:end])
