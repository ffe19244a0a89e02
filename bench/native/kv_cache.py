"""Which blocks of the paged KV cache belong to which request.

The cache is `blocks` blocks of `block_tokens` tokens. A request's block table lists its blocks in order: its token at
position p lies in block `table[p // block_tokens]` at row `p % block_tokens`. Only whole blocks change hands.
This file knows numbers of blocks, never tensors; `kv_pool` holds what lies in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, MutableSequence, Sequence


class BlockAllocator:
    """A free list over the blocks of one pool."""

    def __init__(self, blocks: int, block_tokens: int) -> None:
        self.blocks = blocks
        self.block_tokens = block_tokens
        # The block given back last is given out first: its lines are the likeliest to be in a cache still.
        self._free = list(range(blocks - 1, -1, -1))

    @property
    def free_blocks(self) -> int:
        return len(self._free)

    @property
    def used_blocks(self) -> int:
        return self.blocks - len(self._free)

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold `tokens` tokens."""
        return -(-tokens // self.block_tokens)

    def extend(self, table: MutableSequence[int], tokens: int) -> bool:
        """Lengthen `table` until it holds `tokens` tokens. False, and nothing changed, when too few are free."""
        missing = self.blocks_for(tokens) - len(table)
        if missing > len(self._free):
            return False
        for _ in range(missing):
            table.append(self._free.pop())
        return True

    def release(self, table: MutableSequence[int]) -> None:
        """Take back every block of `table` and empty it."""
        self._free.extend(reversed(table))
        del table[:]

    def integrity_errors(self, tables: Iterable[Sequence[int]]) -> list[str]:
        """What is wrong when `tables` are all the tables in use: each block is free or in one table, exactly once."""
        owners = Counter(self._free)
        for table in tables:
            owners.update(table)
        errors = [f"block {block} has {count} owners" for block, count in sorted(owners.items()) if count > 1]
        errors += [f"block {block} is outside the pool" for block in sorted(owners) if not 0 <= block < self.blocks]
        errors += [f"block {block} is lost" for block in range(self.blocks) if block not in owners]
        return errors
