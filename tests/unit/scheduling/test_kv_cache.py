"""The block allocator: nothing is given twice, nothing is lost, and too little is an answer."""

from __future__ import annotations

from array import array

from hypothesis import given, settings
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


@settings(deadline=None)
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


def test_the_integrity_check_sees_a_block_with_two_owners_and_a_lost_one() -> None:
    allocator = BlockAllocator(blocks=3, block_tokens=1)
    table = array("i")
    allocator.extend(table, 1)
    assert allocator.integrity_errors([table]) == []
    assert allocator.integrity_errors([table, table]) == ["block 0 is in 2 tables but counts 1"]
    assert allocator.integrity_errors([]) == ["block 0 is in 0 tables but counts 1"]
    assert "block 7 is outside the pool" in allocator.integrity_errors([table, array("i", [7])])
    shared = array("i")
    allocator.extend(shared, 1)
    shared_errors = allocator.integrity_errors([table, shared, array("i", shared)])
    assert shared_errors == ["block 1 is in 2 tables but counts 1"]


def test_admission_shares_what_is_known_and_leaves_what_is_to_be_spared() -> None:
    allocator = BlockAllocator(blocks=4, block_tokens=4)
    hashes = [b"first", b"second"]
    first, second, third = array("i"), array("i"), array("i")
    assert allocator.admit(first, 9, hashes, most_shared=2, spare=1) == 0
    for index, block_hash in enumerate(hashes):
        allocator.register(first, index, block_hash)
    assert allocator.admit(second, 9, hashes, most_shared=2, spare=1) is None
    assert allocator.admit(second, 9, hashes, most_shared=1, spare=0) is None
    assert len(second) == 0
    assert allocator.admit(second, 9, hashes, most_shared=2, spare=0) == 2
    assert second[:2] == first[:2]
    assert allocator.integrity_errors([first, second]) == []
    allocator.release(first)
    allocator.release(second)
    # Idle blocks that would be shared are not free as well.
    assert allocator.admit(third, 16, hashes, most_shared=2, spare=1) is None
    assert allocator.admit(third, 16, hashes, most_shared=2, spare=0) == 2
    assert allocator.integrity_errors([third]) == []
