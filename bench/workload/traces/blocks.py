"""Prompts given as hashed blocks, told in as few segments as say the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from bench.core.records import Segment


class BlockRuns:
    """Where the block sequences of one session part from one another.

    Two neighbouring blocks belong to one segment if, in every prompt, each has no other neighbour on that side. A
    segment is then known by its first block and where it starts, and two prompts share segments exactly as far as they
    share blocks.
    """

    def __init__(self, prompts: Iterable[Sequence[int]]) -> None:
        before: defaultdict[int, set[int | None]] = defaultdict(set)
        after: defaultdict[int, set[int | None]] = defaultdict(set)
        for blocks in prompts:
            for left, right in zip((None, *blocks), (*blocks, None), strict=True):
                if left is not None:
                    after[left].add(right)
                if right is not None:
                    before[right].add(left)
        self._starts = {
            block for block, lefts in before.items() if len(lefts) > 1 or any(_parts(after, left) for left in lefts)
        }

    def segments(self, scope: str, blocks: Sequence[int], block_tokens: int, tail: Segment) -> tuple[Segment, ...]:
        """The prompt of `blocks`, each of `block_tokens`, and of `tail`, in segments whose keys begin with `scope`."""
        starts = [place for place, block in enumerate(blocks) if place == 0 or block in self._starts]
        ends = [*starts[1:], len(blocks)]
        runs = [
            Segment(f"{scope}/{start}:{blocks[start]}", (end - start) * block_tokens)
            for start, end in zip(starts, ends, strict=True)
            if end > start
        ]
        return (*runs, tail) if tail.tokens else tuple(runs)


def _parts(after: defaultdict[int, set[int | None]], left: int | None) -> bool:
    return left is None or len(after[left]) > 1
