"""Prompts given as hashed blocks, told in segments that share exactly what the blocks share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from bench.core.errors import InputError
from bench.core.records import Segment

_KEPT_SEGMENTS = 200_000
"""So many blocks met again cost nothing to tell again."""


class GlobalBlocks:
    """Blocks whose id means the same tokens in every prompt of the trace: a segment each.

    Fewer would not do: what a later prompt parts from is not known while the trace is read. A prompt may fill its last
    block in part, and shares that much of it.
    """

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._whole = _SegmentOfBlock(block_tokens)

    def segments(self, blocks: Sequence[int], tokens: int, where: str) -> tuple[Segment, ...]:
        """The prompt of `tokens`. Raises InputError where `blocks` are too few or too many for it.

        One for each block begun, and after whole blocks one more, that the answer begins.
        """
        whole, part = divmod(tokens, self._block_tokens)
        if not whole + (part > 0) <= len(blocks) <= whole + 1:
            raise InputError(
                f"{len(blocks)} hash_ids for {tokens} tokens",
                where=where,
                allowed=f"one for each block of {self._block_tokens} that is begun: {whole + (part > 0)}",
            )
        if len(self._whole) > _KEPT_SEGMENTS:
            self._whole.clear()
        segments = map(self._whole.__getitem__, blocks[:whole])
        return (*segments, Segment(str(blocks[whole]), part)) if part else tuple(segments)


class _SegmentOfBlock(dict[int, Segment]):
    def __init__(self, block_tokens: int) -> None:
        super().__init__()
        self._block_tokens = block_tokens

    def __missing__(self, block: int) -> Segment:
        segment = self[block] = Segment(str(block), self._block_tokens)
        return segment


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
