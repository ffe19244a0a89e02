"""The tensors that graphs read a step from: at the same addresses in every replay, filled anew before each."""

from __future__ import annotations

import numpy as np
import torch
from neokernels.paged_attention import DeviceLengths, PagedLayout
from numpy.typing import NDArray
from torch import Tensor

from bench.native.batch import Batch, BatchItem, HostBatch, known_tokens
from bench.native.graphs.dispatcher import BatchKey


class StaticBuffers:
    """Room for the largest step. Those of all graphs lie one over the other: only one step runs at a time."""

    def __init__(
        self,
        *,
        tokens: int,
        requests: int,
        logit_rows: int,
        context_tokens: int,
        block_tokens: int,
        device: torch.device,
    ) -> None:
        # A padding request may own all but one token of a step, however short the contexts are.
        blocks = -(-max(tokens, context_tokens) // block_tokens)
        self.block_tokens = block_tokens
        self.rows = torch.zeros(3 * tokens + logit_rows, dtype=torch.int64, device=device)
        self.live_rows = torch.zeros(tokens, dtype=torch.bool, device=device)
        self.lengths = torch.zeros(2 * requests + 1, dtype=torch.int32, device=device)
        self.block_tables = torch.zeros((requests, blocks), dtype=torch.int32, device=device)


class StaticStep:
    """The part of the buffers that a graph of one shape reads."""

    def __init__(self, buffers: StaticBuffers, key: BatchKey, logit_rows: int) -> None:
        self.key = key
        self.logit_rows = logit_rows
        self.bounds = _longest_queries(key, logit_rows, buffers.block_tokens)
        """A step of this shape whose queries are as long as any: what a graph is captured with."""
        self._rows = buffers.rows[: 3 * key.tokens + logit_rows]
        self._live_rows = buffers.live_rows[: key.tokens]
        self._lengths = buffers.lengths[: 2 * key.requests + 1]
        self._block_tables = buffers.block_tables[: key.requests]
        token_ids, positions, cache_slots = self._rows[: 3 * key.tokens].view(3, key.tokens).unbind()
        self.batch = Batch(
            token_ids=token_ids,
            positions=positions,
            cache_slots=cache_slots,
            logit_rows=self._rows[3 * key.tokens :],
            layout=PagedLayout(
                query_lens=tuple(self.bounds.query_lens.tolist()),
                context_lens=tuple(self.bounds.context_lens.tolist()),
                block_tables=self._block_tables,
                block_tokens=buffers.block_tokens,
                device_lengths=DeviceLengths(self._lengths[: key.requests + 1], self._lengths[key.requests + 1 :]),
            ),
            live_rows=self._live_rows,
        )

    def padded(self, step: HostBatch) -> HostBatch:
        """`step` filled up to this shape."""
        return step.padded(self.key.tokens, self.key.requests, self.logit_rows)

    def load_rows(self, padded: HostBatch, newest: Tensor | None) -> None:
        """Take over what a step says of its tokens. `newest` as in `HostBatch.on`."""
        _copy(self._rows, padded.token_ids, padded.positions, padded.cache_slots, padded.logit_rows)
        if newest is not None:
            self.batch.token_ids.copy_(known_tokens(self.batch.token_ids, newest))
        torch.ge(self.batch.cache_slots, 0, out=self._live_rows)

    def load_layout(self, padded: HostBatch) -> None:
        """Take over what a step says of its requests."""
        _copy(self._lengths, np.zeros(1, np.int64), padded.query_lens.cumsum(), padded.context_lens)
        columns = self._block_tables[:, : padded.block_tables.shape[1]]
        tables = torch.from_numpy(padded.block_tables)
        columns.copy_(tables.pin_memory() if columns.is_cuda else tables, non_blocking=True)


def _longest_queries(key: BatchKey, logit_rows: int, block_tokens: int) -> HostBatch:
    """Decode steps have requests of one length; in any other one request may have all tokens."""
    tokens = key.uniform_query_len or key.tokens
    item = BatchItem([0] * tokens, 0, [0] * -(-tokens // block_tokens), 0)
    return HostBatch.of([item] * (key.tokens // tokens), block_tokens).padded(key.tokens, key.requests, logit_rows)


def _copy(buffer: Tensor, *parts: NDArray[np.int64]) -> None:
    """Fill `buffer` with `parts` one behind the other, in one transfer that the host does not wait for."""
    # torch hands pinned memory out again only when the copies out of it have been made.
    staged = torch.empty(buffer.shape, dtype=buffer.dtype, pin_memory=buffer.is_cuda)
    np.concatenate(parts, out=staged.numpy())
    buffer.copy_(staged, non_blocking=True)
