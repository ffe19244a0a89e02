"""What one step computes: some tokens of some requests, laid out for the model.

Tokens of a request are consecutive rows; requests follow one another in the order of the items. T tokens, R requests,
L rows that get logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from neokernels.paged_attention import DeviceLengths, PagedLayout
from numpy.typing import NDArray
from torch import Tensor

from bench.native.device import on_device


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One request's share of a step."""

    token_ids: Sequence[int]
    """Tokens to compute, at least one."""
    start: int
    """Position of the first of them; everything before it is in the KV cache already."""
    block_table: Sequence[int]
    """Blocks of the request in order, enough for `start + len(token_ids)` tokens. An `array('i')` is read fastest."""
    logit_tokens: int = 1
    """How many of the last of them get logits."""


@dataclass(frozen=True, slots=True)
class HostBatch:
    """A step as the host lays it out: plain arrays that can be padded, sent elsewhere or copied to a device."""

    token_ids: NDArray[np.int64]
    """[T]. Below 0 it is −1 − row: the newest token of the request at that row, which only the device knows yet."""
    positions: NDArray[np.int64]
    """[T]."""
    cache_slots: NDArray[np.int64]
    """[T]: where in the KV pool each token's key and value go; -1 writes nothing."""
    logit_rows: NDArray[np.int64]
    """[L]: the rows that get logits, ascending; then -1 for each that only fills a graph."""
    query_lens: NDArray[np.int64]
    """[R]: tokens of each request in this step."""
    context_lens: NDArray[np.int64]
    """[R]: tokens of each request in the cache after it."""
    block_tables: NDArray[np.int32]
    """[R, most blocks], rows padded with block 0."""
    block_tokens: int
    padding_tokens: int = 0
    """How many rows at the end only fill the step up to the size of a graph."""

    @staticmethod
    def of(items: Sequence[BatchItem], block_tokens: int) -> HostBatch:
        """Lay out `items`, at least one. A block table shorter than its item needs is a ValueError."""
        query_lens = np.array([len(item.token_ids) for item in items])
        starts = np.array([item.start for item in items])
        context_lens = starts + query_lens
        ends = np.cumsum(query_lens)
        tables = _padded_tables(items, -(-context_lens // block_tokens))
        request = np.repeat(np.arange(len(items)), query_lens)
        positions = np.arange(ends[-1]) + (starts - ends + query_lens)[request]
        slots = tables[request, positions // block_tokens].astype(np.int64) * block_tokens + positions % block_tokens
        return HostBatch(
            token_ids=np.concatenate([item.token_ids for item in items], dtype=np.int64),
            positions=positions,
            cache_slots=slots,
            logit_rows=_last_rows(ends, np.array([item.logit_tokens for item in items])),
            query_lens=query_lens,
            context_lens=context_lens,
            block_tables=tables,
            block_tokens=block_tokens,
        )

    def padded(self, tokens: int, requests: int, logit_rows: int) -> HostBatch:
        """The same step filled up to the size of a graph: `tokens`, `requests` and rows with logits.

        Padding tokens are dealt evenly to the padding requests, which see nothing but as many slots of block 0. They
        are written nowhere, no expert takes them, and whatever they hold no live row reads. Padding rows with logits
        are -1: the last row, which is one of padding where there are any, so that no expert takes it either.
        Raises ValueError where the step is larger, or padding tokens have no request to belong to.
        """
        fill, more = tokens - len(self.token_ids), requests - len(self.query_lens)
        more_rows = logit_rows - len(self.logit_rows)
        if min(fill, more, more_rows) < 0 or (fill and not more):
            raise ValueError(
                f"{len(self.token_ids)} tokens of {len(self.query_lens)} requests with {len(self.logit_rows)} logit "
                f"rows cannot fill a graph of {tokens}, {requests} and {logit_rows}"
            )
        lens = np.bincount(np.arange(fill) % max(more, 1), minlength=more)
        columns = max(self.block_tables.shape[1], -(-int(lens.max(initial=0)) // self.block_tokens))
        block_tables = np.zeros((requests, columns), dtype=np.int32)
        block_tables[: len(self.block_tables), : self.block_tables.shape[1]] = self.block_tables
        return HostBatch(
            token_ids=_filled_up(self.token_ids, fill, 0),
            positions=_filled_up(self.positions, fill, 0),
            cache_slots=_filled_up(self.cache_slots, fill, -1),
            logit_rows=_filled_up(self.logit_rows, more_rows, -1),
            query_lens=np.concatenate((self.query_lens, lens)),
            context_lens=np.concatenate((self.context_lens, lens)),
            block_tables=block_tables,
            block_tokens=self.block_tokens,
            padding_tokens=self.padding_tokens + fill,
        )

    def on(self, device: torch.device, newest: Tensor | None = None) -> Batch:
        """The same step as tensors on `device`. newest [rows] int64: the newest token of each request, by its row."""
        cache_slots = on_device(self.cache_slots, device)
        return Batch(
            token_ids=known_tokens(on_device(self.token_ids, device), newest),
            positions=on_device(self.positions, device),
            cache_slots=cache_slots,
            logit_rows=on_device(self.logit_rows, device),
            layout=self.layout_on(device),
            live_rows=cache_slots >= 0 if self.padding_tokens else None,
        )

    def layout_on(self, device: torch.device) -> PagedLayout:
        """Where its queries and contexts lie, with tensors on `device`."""
        requests = len(self.query_lens)
        lengths = on_device(np.concatenate(([0], self.query_lens.cumsum(), self.context_lens)).astype(np.int32), device)
        return PagedLayout(
            query_lens=tuple(self.query_lens.tolist()),
            context_lens=tuple(self.context_lens.tolist()),
            block_tables=on_device(self.block_tables, device),
            block_tokens=self.block_tokens,
            device_lengths=DeviceLengths(lengths[: requests + 1], lengths[requests + 1 :]),
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """One step of R requests and T tokens on the device."""

    token_ids: Tensor
    """[T] int64."""
    positions: Tensor
    """[T] int64."""
    cache_slots: Tensor
    """[T] int64: where in the KV pool each token's key and value go; -1 writes nothing."""
    logit_rows: Tensor
    """[L] int64: the rows that get logits; -1 where one only fills a step up to the size of a graph."""
    layout: PagedLayout
    """Tokens of each request in this step, and in the cache after it."""
    live_rows: Tensor | None = None
    """[T] bool: false where a row only fills a step up to the size of a graph; None when every row counts."""


def known_tokens(token_ids: Tensor, newest: Tensor | None) -> Tensor:
    """`token_ids` [T] with those that only the device knows filled in."""
    if newest is None:
        return token_ids
    return torch.where(token_ids < 0, newest[(-1 - token_ids).clamp(min=0)], token_ids)


def _last_rows(ends: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The last `counts[r]` of the rows that end before `ends[r]`, for each request r."""
    request = np.repeat(np.arange(len(ends)), counts)
    place = np.arange(len(request)) - (np.cumsum(counts) - counts)[request]
    return (ends - counts)[request] + place


def _filled_up(values: NDArray[np.int64], count: int, value: int) -> NDArray[np.int64]:
    return np.concatenate((values, np.full(count, value)))


def _padded_tables(items: Sequence[BatchItem], blocks: NDArray[np.int64]) -> NDArray[np.int32]:
    tables = np.zeros((len(items), int(blocks.max())), dtype=np.int32)
    for row, item, count in zip(tables, items, blocks.tolist(), strict=True):
        if len(item.block_table) < count:
            raise ValueError(f"a request needs {count} blocks but its table holds {len(item.block_table)}")
        row[:count] = item.block_table[:count]
    return tables
