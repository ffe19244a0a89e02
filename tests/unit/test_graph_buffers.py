"""The buffers graphs read: each step replaces the last one whole, and nothing ever moves."""

from __future__ import annotations

import torch

from bench.native.batch import BatchItem, HostBatch
from bench.native.graphs.buffers import StaticBuffers, StaticStep
from bench.native.graphs.dispatcher import BatchKey

CPU = torch.device("cpu")
BUFFERS = {"tokens": 32, "requests": 5, "logit_rows": 4, "context_tokens": 8, "block_tokens": 4, "device": CPU}


def step(*lens: int) -> HostBatch:
    return HostBatch.of([BatchItem(range(1, count + 1), 2, [7, 8, 9, 6]) for count in lens], 4)


def load(static: StaticStep, batch: HostBatch, newest: torch.Tensor | None = None) -> None:
    static.load_rows(static.padded(batch), newest)
    static.load_layout(static.padded(batch))


def addresses(static: StaticStep) -> list[int]:
    batch, lengths = static.batch, static.batch.layout.on_device
    assert batch.live_rows is not None
    tensors = (batch.token_ids, batch.positions, batch.cache_slots, batch.logit_rows, batch.live_rows, *lengths)
    return [tensor.data_ptr() for tensor in (*tensors, batch.layout.block_tables)]


def test_a_step_replaces_the_one_before() -> None:
    static = StaticStep(StaticBuffers(**BUFFERS), BatchKey(16, 5), 4)
    at = addresses(static)
    load(static, step(9, 3))
    load(static, step(2, 1, 1))
    batch = static.batch
    assert batch.token_ids.tolist() == [1, 2, 1, 1] + [0] * 12
    assert batch.positions.tolist() == [2, 3, 2, 2] + [0] * 12
    assert batch.cache_slots.tolist() == [30, 31, 30, 30] + [-1] * 12
    assert batch.logit_rows.tolist() == [1, 2, 3, -1]
    assert batch.live_rows is not None
    assert batch.live_rows.tolist() == [True] * 4 + [False] * 12
    assert batch.layout.on_device.query_starts.tolist() == [0, 2, 3, 4, 10, 16]
    assert batch.layout.on_device.context_lens.tolist() == [4, 3, 3, 6, 6]
    assert batch.layout.block_tables[:, :2].tolist() == [[7, 0], [7, 0], [7, 0], [0, 0], [0, 0]]
    assert addresses(static) == at


def test_newest_tokens_are_filled_in() -> None:
    static = StaticStep(StaticBuffers(**BUFFERS), BatchKey(4, 4, 1), 4)
    batch = HostBatch.of([BatchItem([token_id], 0, [1]) for token_id in (30, -1, -3)], 4)
    load(static, batch, torch.tensor([11, 12, 13]))
    assert static.batch.token_ids.tolist() == [30, 11, 13, 0]


def test_bounds_hold_for_every_step_of_the_shape() -> None:
    buffers = StaticBuffers(**BUFFERS)
    decodes, mixed = StaticStep(buffers, BatchKey(12, 4, 3), 4), StaticStep(buffers, BatchKey(32, 5), 4)
    assert decodes.batch.layout.longest_query == 3
    assert mixed.batch.layout.longest_query == 32


def test_one_request_can_own_all_padding_however_short_contexts_are() -> None:
    static = StaticStep(StaticBuffers(**BUFFERS), BatchKey(32, 2), 4)
    load(static, step(1))
    assert static.batch.layout.on_device.query_starts.tolist() == [0, 1, 32]
    assert static.batch.layout.block_tables.shape == (2, 8)
