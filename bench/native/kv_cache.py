"""Which blocks of the paged KV cache belong to which request.

The cache is `blocks` blocks of `block_tokens` tokens. A request's block table lists its blocks in order: its token at
position p lies in block `table[p // block_tokens]` at row `p % block_tokens`. Only whole blocks change hands, and only
full ones that the prefix cache knows are in several tables at once.
This file knows numbers of blocks, never tensors; `kv_pool` holds what lies in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, MutableSequence, Sequence

from bench.native.prefix_cache import PrefixCache


class BlockAllocator:
    """The blocks of one pool: each is free, idle (held by nobody but known to the prefix cache) or held by tables."""

    def __init__(self, blocks: int, block_tokens: int) -> None:
        self.blocks = blocks
        self.block_tokens = block_tokens
        self.prefixes = PrefixCache()
        # The block given back last is given out first: its lines are the likeliest to be in a cache still.
        self._free = list(range(blocks - 1, -1, -1))
        self._holders = [0] * blocks

    @property
    def free_blocks(self) -> int:
        """Blocks that can be given out: idle ones are, once the prefix cache has given them up."""
        return len(self._free) + self.prefixes.idle_blocks

    @property
    def used_blocks(self) -> int:
        return self.blocks - self.free_blocks

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold `tokens` tokens."""
        return -(-tokens // self.block_tokens)

    def admit(
        self, table: MutableSequence[int], tokens: int, hashes: Sequence[bytes], most_shared: int, spare: int
    ) -> int | None:
        """Fill the empty `table` until it holds `tokens` tokens, as far as possible with blocks known by `hashes`.

        Returns how many are shared, `most_shared` at most. None, and nothing changed, when fewer than `spare` blocks
        would be left free.
        """
        shared = self.prefixes.match(hashes, most_shared)
        idle = sum(not self._holders[block] for block in shared)
        if self.blocks_for(tokens) - len(shared) + spare > self.free_blocks - idle:
            return None
        for block in shared:
            self._hold(block)
        table.extend(shared)
        self.extend(table, tokens)
        return len(shared)

    def extend(self, table: MutableSequence[int], tokens: int) -> bool:
        """Lengthen `table` until it holds `tokens` tokens. False, and nothing changed, when too few are free."""
        missing = self.blocks_for(tokens) - len(table)
        if missing > self.free_blocks:
            return False
        for _ in range(missing):
            block = self._free.pop() if self._free else self.prefixes.evict()
            self._holders[block] = 1
            table.append(block)
        return True

    def register(self, table: MutableSequence[int], index: int, block_hash: bytes) -> None:
        """Make known what lies in block `index` of `table`, all blocks before it being known already.

        Where another block is known to hold the same, `table` takes that one and gives its own back. So whoever holds
        a known block holds all that come before it in its chain, and a chain retires tail first.
        """
        own = table[index]
        known = self.prefixes.register(block_hash, own)
        if known != own:
            self._hold(known)
            table[index] = known
            self._holders[own] = 0
            self._free.append(own)

    def release(self, table: MutableSequence[int], *, forget: bool = False) -> None:
        """Take back every block of `table` and empty it; with `forget`, keep none for its contents' sake."""
        for block in reversed(table):
            self._holders[block] -= 1
            if self._holders[block] == 0:
                if forget:
                    self.prefixes.forget(block)
                if not self.prefixes.retire(block):
                    self._free.append(block)
        del table[:]

    def forget_idle(self) -> None:
        """Serve nobody from what only the prefix cache keeps."""
        self._free += self.prefixes.forget_idle()

    def integrity_errors(self, tables: Iterable[Sequence[int]]) -> list[str]:
        """What is wrong when `tables` are all the tables in use: each block is free, idle or held, and only one."""
        held = Counter(block for table in tables for block in table)
        free = Counter(self._free)
        errors = [f"block {block} is outside the pool" for block in sorted(held | free) if not 0 <= block < self.blocks]
        for block, holders in enumerate(self._holders):
            if held[block] != holders:
                errors.append(f"block {block} is in {held[block]} tables but counts {holders}")
            if holders > 1 and not self.prefixes.knows(block):
                errors.append(f"block {block} is shared but not known")
            if (holders > 0) + free[block] + self.prefixes.keeps(block) != 1:
                errors.append(f"block {block} is lost or has several states")
        return errors + self.prefixes.integrity_errors()

    def _hold(self, block: int) -> None:
        if not self._holders[block]:
            self.prefixes.hold(block)
        self._holders[block] += 1
