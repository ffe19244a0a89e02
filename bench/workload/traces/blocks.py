"""Prompts given as hashed blocks, told in segments that share exactly what the blocks share.

Ids that count up one by one, as those of new blocks do, are one segment, known by the first of them. Where two prompts
part, at least one of them stops counting: they share segments, the last by the length of the shorter one, exactly as
far as they share ids. Nothing of the trace has to be remembered to know that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import sub
from pathlib import Path

from bench.core.errors import InputError
from bench.core.sessions import Segment


def segments_of_blocks(blocks: Sequence[int], tokens: int, block_tokens: int, scope: str = "") -> tuple[Segment, ...]:
    """The prompt of `tokens`; `blocks` are at least as many as it begins, each of `block_tokens`.

    A block that it fills in part it shares in part. Keys begin with `scope`, within which an id means the same tokens.
    """
    if not tokens:
        return ()
    begun = -(-tokens // block_tokens)
    steps = map(sub, blocks[1:begun], blocks)
    starts = [0, *(place for place, step in enumerate(steps, start=1) if step != 1)]
    bounds = [*(start * block_tokens for start in starts), tokens]
    return tuple(
        Segment(f"{scope}{blocks[start]}", end - begin)
        for start, (begin, end) in zip(starts, pairwise(bounds), strict=True)
    )


def check_blocks(blocks: Sequence[int], tokens: int, block_tokens: int, path: Path, number: int) -> None:
    """Raises InputError, naming line `number`, unless there is one for each block that the prompt begins.

    After whole blocks there may be one more, that the answer begins.
    """
    begun = -(-tokens // block_tokens)
    if not begun <= len(blocks) <= tokens // block_tokens + 1:
        raise InputError(
            f"{len(blocks)} hash_ids for {tokens} tokens",
            where=f"{path}:{number}",
            allowed=f"one for each block of {block_tokens} that is begun: {begun}",
        )
