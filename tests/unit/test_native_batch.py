"""A step's layout: rows, positions, slots and what is refused."""

from __future__ import annotations

import pytest
import torch

from bench.native.batch import BatchItem, HostBatch

CPU = torch.device("cpu")


def test_rows_follow_the_items() -> None:
    batch = HostBatch.of([BatchItem([11, 12, 13], 3, [9, 2]), BatchItem([14], 0, [5, 6, 7])], 4).on(CPU)
    assert batch.token_ids.tolist() == [11, 12, 13, 14]
    assert batch.positions.tolist() == [3, 4, 5, 0]
    assert batch.cache_slots.tolist() == [9 * 4 + 3, 2 * 4, 2 * 4 + 1, 5 * 4]
    assert batch.logit_rows.tolist() == [2, 3]
    assert batch.layout.query_lens == (3, 1)
    assert batch.layout.context_lens == (6, 1)


def test_block_tables_keep_only_what_a_context_needs() -> None:
    batch = HostBatch.of([BatchItem([1], 8, [3, 1, 4, 1, 5]), BatchItem([1], 0, [9, 2])], 4).on(CPU)
    assert batch.layout.block_tables.tolist() == [[3, 1, 4], [9, 0, 0]]


def test_slots_beyond_int32_are_exact() -> None:
    block = 2**31 - 1
    assert HostBatch.of([BatchItem([1], 255, [0] * 15 + [block])], 16).on(CPU).cache_slots.tolist() == [block * 16 + 15]


def test_a_block_table_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 2 blocks but its table holds 1"):
        HostBatch.of([BatchItem([1, 2], 3, [7])], 4).on(CPU)


def test_some_requests_get_no_logits_and_some_get_several() -> None:
    items = [BatchItem([1, 2, 3], 0, [0], 0), BatchItem([4, 5, 6], 0, [1], 2), BatchItem([7], 0, [2])]
    assert HostBatch.of(items, 4).logit_rows.tolist() == [4, 5, 6]


def test_padding_fills_a_step_up_and_touches_nothing() -> None:
    step = HostBatch.of([BatchItem([1, 2, 3], 5, [9, 2], 2), BatchItem([4], 0, [5])], 4)
    padded = step.padded(9, 5, 6)
    assert padded.token_ids.tolist() == [1, 2, 3, 4, 0, 0, 0, 0, 0]
    assert padded.positions.tolist() == [5, 6, 7, 0, 0, 0, 0, 0, 0]
    assert padded.cache_slots.tolist() == [*step.cache_slots.tolist(), -1, -1, -1, -1, -1]
    assert padded.logit_rows.tolist() == [1, 2, 3, -1, -1, -1]
    assert padded.query_lens.tolist() == [3, 1, 2, 2, 1]
    assert padded.context_lens.tolist() == [8, 1, 2, 2, 1]
    assert padded.block_tables.tolist() == [[9, 2], [5, 0], [0, 0], [0, 0], [0, 0]]
    batch = padded.on(CPU)
    assert batch.live_rows is not None
    assert batch.live_rows.tolist() == [True] * 4 + [False] * 5
    assert batch.layout.on_device.query_starts.tolist() == [0, 3, 4, 6, 8, 9]


def test_padding_has_room_in_the_block_tables() -> None:
    padded = HostBatch.of([BatchItem([1], 0, [3])], 4).padded(12, 2, 1)
    assert padded.query_lens.tolist() == [1, 11]
    assert padded.block_tables.tolist() == [[3, 0, 0], [0, 0, 0]]


def test_a_step_of_the_right_size_is_not_padded() -> None:
    step = HostBatch.of([BatchItem([1], 0, [3])], 4)
    padded = step.padded(1, 2, 1)
    assert padded.query_lens.tolist() == [1, 0]
    assert padded.on(CPU).live_rows is None


@pytest.mark.parametrize("size", [(1, 2, 1), (2, 0, 1), (2, 1, 0), (3, 1, 1)])
def test_a_step_that_no_padding_makes_fit_is_refused(size: tuple[int, int, int]) -> None:
    step = HostBatch.of([BatchItem([1, 2], 0, [3])], 4)
    with pytest.raises(ValueError, match="2 tokens of 1 requests with 1 logit rows cannot fill a graph"):
        step.padded(*size)
