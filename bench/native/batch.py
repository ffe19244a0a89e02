"""What one step computes: some tokens of some requests, laid out for the model.

Tokens of a request are consecutive rows; requests follow one another in the order of the items. T tokens, R requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from neokernels.paged_attention import PagedLayout
from torch import Tensor


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One request's share of a step."""

    token_ids: Sequence[int]
    """Tokens to compute, at least one."""
    start: int
    """Position of the first of them; everything before it is in the KV cache already."""
    block_table: Sequence[int]
    """Blocks of the request in order, enough for `start + len(token_ids)` tokens. An `array('i')` is read fastest."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step of R requests and T tokens on the device."""

    token_ids: Tensor
    """[T] int64."""
    positions: Tensor
    """[T] int64."""
    slots: Tensor
    """[T] int64: where in the KV pool each token's key and value go; -1 writes nothing."""
    last_rows: Tensor
    """[R] int64: the row of each request's last token, the only rows that get logits."""
    layout: PagedLayout
    """Tokens of each request in this step, and in the cache after it."""

    @staticmethod
    def build(items: Sequence[BatchItem], block_tokens: int, device: torch.device) -> Batch:
        """Lay out `items`, at least one. A block table shorter than its item needs is a ValueError."""
        query_lens = np.array([len(item.token_ids) for item in items])
        starts = np.array([item.start for item in items])
        context_lens = starts + query_lens
        ends = np.cumsum(query_lens)
        tables = _padded_tables(items, -(-context_lens // block_tokens))
        request = np.repeat(np.arange(len(items)), query_lens)
        positions = np.arange(ends[-1]) + (starts - ends + query_lens)[request]
        slots = tables[request, positions // block_tokens].astype(np.int64) * block_tokens + positions % block_tokens
        token_ids = np.concatenate([item.token_ids for item in items], dtype=np.int64)
        return Batch(
            token_ids=torch.from_numpy(token_ids).to(device),
            positions=torch.from_numpy(positions).to(device),
            slots=torch.from_numpy(slots).to(device),
            last_rows=torch.from_numpy(ends - 1).to(device),
            layout=PagedLayout(
                query_lens=tuple(query_lens.tolist()),
                context_lens=tuple(context_lens.tolist()),
                block_tables=torch.from_numpy(tables).to(device),
                block_tokens=block_tokens,
            ),
        )


def _padded_tables(items: Sequence[BatchItem], blocks: np.ndarray) -> np.ndarray:
    """[R, most blocks] int32, rows padded with block 0."""
    tables = np.zeros((len(items), int(blocks.max())), dtype=np.int32)
    for row, item, count in zip(tables, items, blocks.tolist(), strict=True):
        if len(item.block_table) < count:
            raise ValueError(f"a request needs {count} blocks but its table holds {len(item.block_table)}")
        row[:count] = item.block_table[:count]
    return tables
