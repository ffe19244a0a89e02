"""Paged attention against a loop over requests and heads in float64, on caches poisoned outside what was written."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from neokernels.attention_in_tiles import paged_attention_in_tiles
from neokernels.paged_attention import PagedLayout, paged_attention, paged_attention_reference
from torch import Tensor

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}

RAGGED = {
    "one token": [(1, 1)],
    "one decode": [(1, 37)],
    "decodes of one length": [(1, 20), (1, 20), (1, 20)],
    "decodes of many lengths": [(1, 1), (1, 16), (1, 17), (1, 300), (1, 2), (1, 900)],
    "whole prompts": [(5, 5), (1, 1), (33, 33)],
    "a later chunk": [(6, 29)],
    "mixed": [(1, 40), (9, 9), (1, 3), (4, 21), (1, 600), (2, 2)],
}
"""(query tokens, context tokens) of each request of a step."""
LONG_CHUNK = [(3, 3), (1100, 1111)]
"""One that is cut so that no mask is too large."""
SINKS = (-30.0, -1.0, 1.0, 30.0)


@dataclass(frozen=True)
class Step:
    """A step over a cache in which every slot that belongs to no context holds NaN."""

    query: Tensor
    keys: Tensor
    values: Tensor
    layout: PagedLayout
    contexts: list[tuple[Tensor, Tensor]]
    """Keys and values of each request in order, as they would lie without paging."""


def make_step(
    lens: list[tuple[int, int]],
    *,
    query_heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 8,
    block_tokens: int = 4,
    dtype: torch.dtype = torch.float32,
) -> Step:
    needed = [-(-context // block_tokens) for _, context in lens]
    pages = list(range(sum(needed) + 3))
    random.shuffle(pages)
    keys = torch.full((len(pages), block_tokens, kv_heads, head_dim), float("nan"), dtype=dtype)
    values = keys.clone()
    # Rows are padded with a page that belongs to the first request: reading past a context would read its data.
    tables = torch.full((len(lens), max(needed) + 1), pages[0], dtype=torch.int32)
    contexts = []
    for row, ((_, context), count) in enumerate(zip(lens, needed, strict=True)):
        table, pages = pages[:count], pages[count:]
        tables[row, :count] = torch.tensor(table)
        key, value = torch.randn(2, context, kv_heads, head_dim).to(dtype)
        for token in range(context):
            page, offset = table[token // block_tokens], token % block_tokens
            keys[page, offset], values[page, offset] = key[token], value[token]
        contexts.append((key, value))
    query = torch.randn(sum(count for count, _ in lens), query_heads, head_dim).to(dtype)
    layout = PagedLayout(tuple(q for q, _ in lens), tuple(c for _, c in lens), tables, block_tokens)
    return Step(query, keys, values, layout, contexts)


def formula(step: Step, scale: float, window: int | None = None, sinks: Tensor | None = None) -> Tensor:
    queries, sink = step.query.double(), torch.zeros(step.query.shape[1]) if sinks is None else sinks.double().exp()
    expected = torch.empty((*step.query.shape[:2], step.values.shape[-1]), dtype=torch.float64)
    group = step.query.shape[1] // step.keys.shape[2]
    row = 0
    for query_len, context_len, (key, value) in zip(
        step.layout.query_lens, step.layout.context_lens, step.contexts, strict=True
    ):
        rows = slice(row, row + query_len)
        distance = torch.arange(context_len - query_len, context_len)[:, None] - torch.arange(context_len)
        seen = (distance >= 0) & (distance < (window or context_len))
        for head in range(step.query.shape[1]):
            weights = torch.exp(scale * (queries[rows, head] @ key.double()[:, head // group].T)) * seen
            total = weights.sum(-1, keepdim=True) + sink[head]
            expected[rows, head] = weights @ value.double()[:, head // group] / total
        row += query_len
    return expected


Attend = Callable[..., Tensor]


@pytest.fixture(
    params=[paged_attention, paged_attention_reference, paged_attention_in_tiles],
    ids=["first choice", "reference", "in tiles"],
)
def attend(request: pytest.FixtureRequest) -> Attend:
    """What answers first on this machine, and the two in torch that answer anywhere."""
    chosen: Attend = request.param
    return chosen


def assert_formula(
    attend: Attend,
    step: Step,
    dtype: torch.dtype = torch.float32,
    scale: float = 0.3,
    window: int | None = None,
    sinks: Tensor | None = None,
) -> None:
    result = attend(step.query, step.keys, step.values, step.layout, scale, window, sinks)
    expected = formula(step, scale, window, sinks)
    assert result.shape == expected.shape
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype], equal_nan=False)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("lens", RAGGED.values(), ids=RAGGED.keys())
def test_ragged_steps(attend: Attend, lens: list[tuple[int, int]], dtype: torch.dtype) -> None:
    assert_formula(attend, make_step(lens, dtype=dtype), dtype)


@pytest.mark.parametrize("window", [1, 3, 16, 5000])
@pytest.mark.parametrize("lens", RAGGED.values(), ids=RAGGED.keys())
def test_windows(attend: Attend, lens: list[tuple[int, int]], window: int) -> None:
    assert_formula(attend, make_step(lens), window=window)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("lens", RAGGED.values(), ids=RAGGED.keys())
def test_sinks(attend: Attend, lens: list[tuple[int, int]], window: int | None, dtype: torch.dtype) -> None:
    assert_formula(attend, make_step(lens, dtype=dtype), dtype, window=window, sinks=torch.tensor(SINKS).to(dtype))


@pytest.mark.parametrize("sinks", [None, SINKS], ids=["no sinks", "sinks"])
@pytest.mark.parametrize("window", [None, 16, 5000])
@pytest.mark.parametrize("attend", [paged_attention, paged_attention_reference], ids=["first choice", "reference"])
def test_a_long_chunk(attend: Attend, window: int | None, sinks: tuple[float, ...] | None) -> None:
    sink = None if sinks is None else torch.tensor(sinks)
    assert_formula(attend, make_step(LONG_CHUNK), window=window, sinks=sink)


def test_values_of_another_width(attend: Attend) -> None:
    step = make_step(RAGGED["mixed"])
    assert_formula(
        attend, replace(step, values=step.values[..., :3], contexts=[(k, v[..., :3]) for k, v in step.contexts])
    )


@pytest.mark.parametrize(("query_heads", "kv_heads"), [(1, 1), (6, 6), (6, 3), (7, 1)])
@pytest.mark.parametrize("head_dim", [2, 24])
def test_head_groups(attend: Attend, query_heads: int, kv_heads: int, head_dim: int) -> None:
    assert_formula(attend, make_step(RAGGED["mixed"], query_heads=query_heads, kv_heads=kv_heads, head_dim=head_dim))


@pytest.mark.parametrize("block_tokens", [1, 3, 16, 64])
def test_block_sizes(attend: Attend, block_tokens: int) -> None:
    assert_formula(attend, make_step(RAGGED["mixed"], block_tokens=block_tokens))


@pytest.mark.parametrize("seed", range(8))
def test_drawn_steps(attend: Attend, seed: int) -> None:
    draw = random.Random(seed)
    lens = []
    for _ in range(draw.randint(1, 7)):
        context = draw.randint(1, 120)
        lens.append((1 if draw.random() < 0.6 else draw.randint(1, context), context))
    assert_formula(attend, make_step(lens, block_tokens=draw.choice([1, 4, 16])))


def test_steep_scores_do_not_overflow(attend: Attend) -> None:
    """exp(scale · q·k) overflows float32 here; a softmax that subtracts the maximum does not."""
    step = make_step([(1, 9), (3, 12)])
    result = attend(step.query * 50, step.keys * 50, step.values, step.layout, 1.0)
    assert result.isfinite().all()


def test_layers_share_the_plan() -> None:
    step = make_step(RAGGED["mixed"])
    assert step.layout.tiles(None, False) is step.layout.tiles(None, False)
    first = paged_attention(step.query, step.keys, step.values, step.layout, 0.3)
    again = paged_attention(step.query, step.keys, step.values, step.layout, 0.3)
    assert first.equal(again)
