"""A padded step through a real model: its live rows say what they said before, and it writes nothing more."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.native.batch import BatchItem, HostBatch
from bench.native.kv_pool import KvPool

PROMPTS = {
    "decodes": [(9, 1), (3, 1), (17, 1)],
    "prompts": [(0, 5), (0, 11)],
    "verified drafts": [(6, 3), (13, 3)],
    "mixed": [(12, 1), (0, 7), (8, 4), (2, 1)],
}
"""(tokens in the cache, tokens of the step) of each request."""


def contents(pool: KvPool, layers: int) -> Tensor:
    return torch.stack([cache for layer in range(layers) for cache in pool.layer(layer)])


def after_their_contexts(bed: Any, lens: list[tuple[int, int]]) -> tuple[KvPool, HostBatch]:
    """A pool that holds the contexts, and the step that follows them."""
    draw = random.Random(5)
    pool, free = bed.pool(), list(range(1, 60))
    draw.shuffle(free)
    contexts, step = [], []
    for cached, count in lens:
        token_ids = [draw.randrange(20, 320) for _ in range(cached + count)]
        table = [free.pop() for _ in range(-(-(cached + count) // pool.block_tokens))]
        if cached:
            contexts.append(BatchItem(token_ids[:cached], 0, table))
        step.append(BatchItem(token_ids[cached:], cached, table, count))
    if contexts:
        bed.plain(pool)(HostBatch.of(contexts, pool.block_tokens))
    return pool, HostBatch.of(step, pool.block_tokens)


@pytest.mark.parametrize("which", ["bed", "reference_bed"])
@pytest.mark.parametrize("lens", PROMPTS.values(), ids=PROMPTS.keys())
@pytest.mark.parametrize(("more_tokens", "more_requests"), [(0, 1), (1, 1), (13, 2), (3, 9)])
def test_live_rows_and_the_cache_are_as_without_padding(
    which: str, lens: list[tuple[int, int]], more_tokens: int, more_requests: int, request: pytest.FixtureRequest
) -> None:
    bed = request.getfixturevalue(which)
    pool, step = after_their_contexts(bed, lens)
    expected = bed.plain(pool)(step)
    padded_pool, _ = after_their_contexts(bed, lens)
    rows = len(step.logit_rows)
    padded = step.padded(len(step.token_ids) + more_tokens, len(lens) + more_requests, rows + more_tokens)
    logits = bed.plain(padded_pool)(padded)
    assert expected.isfinite().all()
    torch.testing.assert_close(logits[:rows], expected, atol=1e-5, rtol=1e-5)
    written = contents(pool, bed.model.layers)
    torch.testing.assert_close(contents(padded_pool, bed.model.layers), written, atol=1e-5, rtol=1e-5, equal_nan=True)
    assert padded_pool.layer(0)[0][0].isnan().all(), "block 0 holds no request's tokens and none of padding's"
