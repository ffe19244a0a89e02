"""Rows into a paged cache and out of it, in every dtype it keeps, with padding among them."""

from __future__ import annotations

import pytest
import torch
from neokernels.cached_rows import none_negative, read_rows, write_rows

BLOCKS, BLOCK_TOKENS, HEADS, DIM = 3, 4, 2, 5
STEPS = [[5, -1, 2, -1], [-1, -1, -1], [0, 11, 4], [-1, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("slots", STEPS)
def test_only_the_slots_that_are_named_are_written(slots: list[int], dtype: torch.dtype) -> None:
    cache = torch.full((BLOCKS, BLOCK_TOKENS, HEADS, DIM), torch.nan).to(dtype)
    rows = torch.randn(len(slots), HEADS, DIM)
    write_rows(cache, torch.tensor(slots), rows)
    for slot in range(BLOCKS * BLOCK_TOKENS):
        found = read_rows(cache, torch.tensor([slot]), torch.float32)[0]
        expected = rows[slots.index(slot)].to(dtype).float() if slot in slots else torch.full((HEADS, DIM), torch.nan)
        torch.testing.assert_close(found, expected, atol=0, rtol=0, equal_nan=True)


@pytest.mark.parametrize("slots", STEPS)
def test_a_graph_writes_the_same(slots: list[int]) -> None:
    kept = torch.randn(BLOCKS * BLOCK_TOKENS, HEADS, DIM)
    expected, rows = kept.clone(), torch.randn(len(slots), HEADS, DIM)
    write_rows(expected.unflatten(0, (BLOCKS, BLOCK_TOKENS)), torch.tensor(slots), rows)
    named, repeated = none_negative(kept, torch.tensor(slots), rows)
    assert len(named) == len(slots)
    assert named.min() >= 0
    kept.index_copy_(0, named, repeated)
    assert kept.equal(expected)
