"""Which blocks of the KV cache hold which prefix, so that a prompt's leading blocks can be served again.

A block is known by a hash chained over all tokens up to its end: equal hashes mean equal tokens at equal positions, and
so equal keys and values. Only full blocks are known, and nothing is ever written to a full block: sharing needs no
copy-on-write. A block that nobody holds stays until its room is needed; the one given back longest ago goes first.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from itertools import islice

_HASH_BYTES = 16


def extend_hashes(hashes: list[bytes], token_ids: array[int], block_tokens: int, salt: bytes) -> None:
    """Append to `hashes` those of the blocks that `token_ids`, all tokens from the first on, have filled since.

    `salt` begins every chain: caches that differ in it have nothing in common, so a run that draws its own never hits
    what an earlier one left.
    """
    parent = hashes[-1] if hashes else salt
    for start in range(len(hashes) * block_tokens, len(token_ids) - block_tokens + 1, block_tokens):
        block = token_ids[start : start + block_tokens].tobytes()
        parent = blake2b(parent + block, digest_size=_HASH_BYTES).digest()
        hashes.append(parent)


class PrefixCache:
    """The index from hashes to blocks, and the order in which blocks that nobody holds are given up."""

    def __init__(self) -> None:
        self._block_of: dict[bytes, int] = {}
        self._hash_of: dict[int, bytes] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self.evictions = 0

    @property
    def cached_blocks(self) -> int:
        """Blocks that are known, held or not."""
        return len(self._hash_of)

    @property
    def idle_blocks(self) -> int:
        """Blocks that are known and that nobody holds."""
        return len(self._idle)

    def knows(self, block: int) -> bool:
        return block in self._hash_of

    def keeps(self, block: int) -> bool:
        """Whether the block is known and held by nobody."""
        return block in self._idle

    def match(self, hashes: Sequence[bytes], most: int) -> list[int]:
        """The blocks of the longest known run of leading `hashes`, `most` at most."""
        blocks: list[int] = []
        for block_hash in islice(hashes, most):
            block = self._block_of.get(block_hash)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def register(self, block_hash: bytes, block: int) -> int:
        """Make a held block known and return the block known by that hash: another one, if that was there before."""
        known = self._block_of.setdefault(block_hash, block)
        if known == block:
            self._hash_of[block] = block_hash
        return known

    def hold(self, block: int) -> None:
        """Somebody holds a block that nobody held."""
        del self._idle[block]

    def retire(self, block: int) -> bool:
        """Keep a block that nobody holds any more. False when it is not known, and so of no further use.

        Blocks of one chain have to retire tail first: a head that went before its tail would leave it out of reach.
        """
        if not self.knows(block):
            return False
        self._idle[block] = None
        return True

    def forget(self, block: int) -> None:
        """Let nobody be served from a held block, if it is known."""
        block_hash = self._hash_of.pop(block, None)
        if block_hash is not None:
            del self._block_of[block_hash]

    def evict(self) -> int:
        """Give up the block that nobody has held for longest, and return it. There must be one."""
        block, _ = self._idle.popitem(last=False)
        self.forget(block)
        self.evictions += 1
        return block

    def forget_idle(self) -> list[int]:
        """Give up every block that nobody holds, and return them."""
        blocks = list(self._idle)
        self._idle.clear()
        for block in blocks:
            self.forget(block)
        return blocks

    def integrity_errors(self) -> list[str]:
        """What is wrong in the index; empty when nothing is."""
        errors = [
            f"block {block} is known by a hash that leads elsewhere"
            for block, block_hash in self._hash_of.items()
            if self._block_of.get(block_hash) != block
        ]
        if len(self._block_of) != len(self._hash_of):
            errors.append(f"{len(self._block_of)} hashes know {len(self._hash_of)} blocks")
        errors += [f"block {block} is kept but not known" for block in self._idle if not self.knows(block)]
        return errors
