"""The block allocator: nothing is given twice, nothing is lost, and too little is an answer."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from bench.native.kv_cache import BlockAllocator


def test_a_table_grows_by_whole_blocks_and_only_when_it_must() -> None:
    allocator = BlockAllocator(blocks=4, block_tokens=16)
    table = array("i")
    assert allocator.extend(table, 16)
    assert len(table) == 1
    assert allocator.extend(table, 17)
    assert len(table) == 2
    assert allocator.extend(table, 5)
    assert len(table) == 2
    assert (allocator.used_blocks, allocator.free_blocks) == (2, 2)


def test_too_few_blocks_is_a_value_and_changes_nothing() -> None:
    allocator = BlockAllocator(blocks=3, block_tokens=4)
    first, second = array("i"), array("i")
    assert allocator.extend(first, 8)
    assert not allocator.extend(second, 8)
    assert len(second) == 0
    assert allocator.free_blocks == 1
    allocator.release(first)
    assert len(first) == 0
    assert allocator.extend(second, 12)


@given(st.integers(0, 12), st.integers(1, 5), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=60))
def test_every_block_is_free_or_owned_once_whatever_is_asked(
    blocks: int, block_tokens: int, requests: list[tuple[int, int]]
) -> None:
    allocator = BlockAllocator(blocks, block_tokens)
    tables = [array("i") for _ in range(4)]
    for which, tokens in requests:
        table = tables[which]
        if tokens == 0:
            allocator.release(table)
            continue
        before = list(table)
        granted = allocator.extend(table, tokens)
        assert granted == (len(table) * block_tokens >= tokens)
        assert list(table)[: len(before)] == before
        assert allocator.integrity_errors(tables) == []
    for table in tables:
        allocator.release(table)
    assert allocator.free_blocks == blocks
