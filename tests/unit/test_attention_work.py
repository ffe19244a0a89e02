"""What attention reads and computes, against counting it token by token."""

from __future__ import annotations

import random

import numpy as np
import pytest

from bench.native.work import AttentionWork


def by_counting(layers: tuple[tuple[int | None, int], ...], lens: list[tuple[int, int]]) -> tuple[int, int]:
    """Tokens read and pairs computed, over layers."""
    read = pairs = 0
    for window, count in layers:
        for query_len, context_len in lens:
            seen = [
                range(max(0, position + 1 - (window or context_len)), position + 1)
                for position in range(context_len - query_len, context_len)
            ]
            read += count * len(set().union(*seen))
            pairs += count * sum(map(len, seen))
    return read, pairs


@pytest.mark.parametrize("layers", [((None, 3),), ((8, 2),), ((None, 2), (5, 2), (1, 1))], ids=str)
def test_every_token_is_counted_once(layers: tuple[tuple[int | None, int], ...]) -> None:
    draw = random.Random(4)
    for _ in range(200):
        contexts = [draw.randint(1, 40) for _ in range(draw.randint(1, 6))]
        lens = [(draw.randint(1, context), context) for context in contexts]
        query_lens, context_lens = np.array(lens).T
        read, pairs = by_counting(layers, lens)
        work = AttentionWork(layers, bytes_per_token=7, flops_per_pair=3)
        assert work.of_step(query_lens, context_lens) == (7 * read, 3 * pairs)
