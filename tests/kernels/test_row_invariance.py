"""What `batch_invariant` promises of each operation: a row's bits whatever other rows there are, and wherever it lies.

Asked of the C kernels and of what answers without them, with one thread and with two.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from neokernels.counter_random import gumbel_noise
from neokernels.cpu import library
from neokernels.linear import prepare_linear
from neokernels.logit_filters import Filters
from neokernels.paged_attention import PagedLayout, paged_attention
from neokernels.registry import Numerics, Operation, Registry, Target
from neokernels.rms_norm import add_rms_norm, rms_norm
from neokernels.rope_kv_write import QkNorm, rope_kv_write, rotary_factors
from neokernels.sampling import sample
from neokernels.silu_mul import SwigluClamp, clamped_swiglu, silu_mul
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ROWS = 53
WIDTH = 70
SMALL = [(96, 64), (5, 33), (64, 1000)]
"""Outputs and inputs of projections."""


@pytest.fixture(params=["kernels in C", "torch alone"], autouse=True)
def built(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch alone":
        monkeypatch.setattr(library, "unavailable", lambda: "left out by the test")


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def resolved(operation: Operation[Any, Any], dtype: torch.dtype, **target: Any) -> Callable[..., Any]:
    numerics: Numerics = "batch_invariant"
    return Registry().resolve(operation, Target(torch.device("cpu"), dtype, numerics, **target))


def assert_rows_keep_their_bits(compute: Callable[..., Tensor], *columns: Tensor) -> None:
    """Of `compute(*columns)`, whose columns are [ROWS, ...]."""
    expected = compute(*columns)
    draw = random.Random(0)
    for count in (1, 2, 7, 15, 16, 17, 40, ROWS):
        rows = torch.tensor(draw.sample(range(ROWS), count))
        # What lies beside a row is not what lay there before.
        others = [column[rows].clone() for column in columns]
        keep = draw.randrange(count)
        assert compute(*others).equal(expected[rows])
        for other in others:
            kept = other[keep].clone()
            other.copy_(other.flip(0) * 3)
            other[keep] = kept
        assert compute(*others)[keep].equal(expected[rows[keep]])


@pytest.mark.parametrize("form", ["dense", "int8", "fp8", "mxfp4", "nvfp4"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear(dtype: torch.dtype, form: str) -> None:
    for outputs, inputs in SMALL:
        weight, bias = torch.randn(outputs, inputs).to(dtype), torch.randn(outputs).to(dtype)
        linear = resolved(prepare_linear, dtype, weight_format=form)(weight, bias)
        assert_rows_keep_their_bits(linear, torch.randn(ROWS, inputs).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms(dtype: torch.dtype) -> None:
    x, residual, weight = (torch.randn(*shape).to(dtype) for shape in ((ROWS, WIDTH), (ROWS, WIDTH), (WIDTH,)))
    norm, add_norm = resolved(rms_norm, dtype), resolved(add_rms_norm, dtype)
    assert_rows_keep_their_bits(lambda x: norm(x, weight, 1e-6), x)
    assert_rows_keep_their_bits(lambda x, residual: torch.cat(add_norm(x, residual, weight, 1e-6), -1), x, residual)


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations(dtype: torch.dtype) -> None:
    gate_up = torch.randn(ROWS, 2 * WIDTH).to(dtype) * 4
    assert_rows_keep_their_bits(resolved(silu_mul, dtype), gate_up)
    clamped = resolved(clamped_swiglu, dtype)
    assert_rows_keep_their_bits(lambda x: clamped(x, SwigluClamp(1.7, 7.0)), gate_up)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rotation_into_the_cache(dtype: torch.dtype) -> None:
    heads, kv_heads, dim = 4, 2, 24
    qk_norm = QkNorm(torch.rand(dim).to(dtype), torch.rand(dim).to(dtype), 1e-6)
    frequencies = torch.rand(dim // 2)
    factors, rope = resolved(rotary_factors, dtype), resolved(rope_kv_write, dtype)

    def compute(qkv: Tensor, positions: Tensor) -> Tensor:
        keys, values = torch.zeros(2, ROWS, 1, kv_heads, dim, dtype=dtype)
        slots = torch.randperm(ROWS)[: len(qkv)]
        query = rope(qkv, *factors(positions, frequencies, dtype), slots, keys, values, qk_norm)
        return torch.cat((query, keys[slots, 0], values[slots, 0]), 1)

    qkv = torch.randn(ROWS, (heads + 2 * kv_heads) * dim).to(dtype)
    assert_rows_keep_their_bits(compute, qkv, torch.randint(0, 4000, (ROWS,)))


def test_sampling() -> None:
    """The noise to its bits, and the tokens that are drawn with it."""
    seeds, positions, ids = torch.randint(0, 1 << 48, (ROWS,)), torch.randint(0, 4000, (ROWS,)), torch.arange(333)
    assert_rows_keep_their_bits(lambda s, p: gumbel_noise(s, p, ids), seeds, positions)
    draw = resolved(sample, torch.float32)

    def compute(logits: Tensor, temperatures: Tensor, seeds: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
        filters = Filters(top_k=top_k.clamp(max=333), most_k=333, top_p=top_p.clamp(max=0.99))
        tokens: Tensor = draw(logits, temperatures, seeds, seeds % 4000, filters)
        return tokens

    logits, temperatures, top_p = torch.randn(ROWS, 333) * 2, torch.rand(ROWS) + 0.5, torch.rand(ROWS) * 0.5 + 0.4
    assert_rows_keep_their_bits(compute, logits, temperatures, seeds, torch.randint(1, 100, (ROWS,)), top_p)


@pytest.mark.parametrize(
    ("window", "sinks", "kv_dtype"),
    [(None, None, None), (100, torch.tensor([0.5, -1.0, 2.0, 0.0]), None), (None, None, torch.float8_e4m3fn)],
    ids=["whole", "window and sinks", "eight-bit cache"],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_attention(dtype: torch.dtype, window: int | None, sinks: Tensor | None, kv_dtype: torch.dtype | None) -> None:
    """A context of 300 tokens, computed in one go and in chunks, alone and beside others, from blocks anywhere."""
    context, block_tokens, kv_heads, heads, dim = 300, 8, 2, 4, 16
    attend = resolved(paged_attention, dtype, kv_dtype=kv_dtype)
    key, value = torch.randn(2, context, kv_heads, dim).to(dtype).to(kv_dtype or dtype)
    query = torch.randn(context, heads, dim).to(dtype)
    draw = random.Random(1)
    blocks = -(-context // block_tokens)

    def chunk(start: int, end: int, others: list[tuple[int, int]]) -> Tensor:
        """Queries start..end − 1 beside other requests of these query and context lengths."""
        lens = [*others, (end - start, end)]
        draw.shuffle(lens)
        mine = lens.index((end - start, end))
        pages = torch.randperm(3 * blocks * len(lens))
        tables = pages[: blocks * len(lens)].view(len(lens), blocks).int()
        caches = torch.randn(2, len(pages), block_tokens, kv_heads, dim).to(dtype).to(kv_dtype or dtype)
        for token in range(end):
            slot = int(tables[mine, token // block_tokens]), token % block_tokens
            caches[0][slot], caches[1][slot] = key[token], value[token]
        queries = torch.randn(sum(count for count, _ in lens), heads, dim).to(dtype)
        row = sum(count for count, _ in lens[:mine])
        queries[row : row + end - start] = query[start:end]
        layout = PagedLayout(tuple(q for q, _ in lens), tuple(c for _, c in lens), tables, block_tokens)
        result: Tensor = attend(queries, *caches, layout, 0.3, window, sinks)
        return result[row : row + end - start]

    whole = chunk(0, context, [])
    for start, end in ((0, 1), (3, 250), (255, 257), (299, 300), (1, 300)):
        others = [(draw.choice([1, 1, 5, 40]), draw.randint(40, 290)) for _ in range(draw.randint(0, 4))]
        assert chunk(start, end, others).equal(whole[start:end])
