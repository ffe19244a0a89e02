"""Steps of every size that an engine may run, each once, so that what is compiled on first use is compiled untimed.

Schedules are looked up for powers of two of what changes from step to step, so no step between them finds another.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from bench.native.batch import BatchItem, HostBatch


def first_steps(
    *, max_running: int, step_tokens: int, context_tokens: int, blocks: int, block_tokens: int
) -> Iterator[HostBatch]:
    """Prompts of 1, 2, 4 … `step_tokens` tokens, then decodes of as many requests over contexts that a pool holds.

    `context_tokens` is the longest there is to be. The first of the pool's `blocks` are written, by several
    requests at once; what is computed from them means nothing.
    """
    longest = min(context_tokens, blocks * block_tokens)
    table = array("i", range(blocks))

    def item(tokens: int, context: int) -> BatchItem:
        return BatchItem(array("i", [0] * tokens), context - tokens, table[: -(-context // block_tokens)])

    for tokens in _powers_of_two(min(step_tokens, longest)):
        yield HostBatch.of([item(tokens, tokens)], block_tokens)
    for requests in _powers_of_two(min(max_running, step_tokens)):
        for context in _powers_of_two(min(longest, max(1, blocks * block_tokens // requests))):
            yield HostBatch.of([item(1, context)] * requests, block_tokens)


def _powers_of_two(most: int) -> Iterator[int]:
    """1, 2, 4 …, and `most` itself."""
    size = 1
    while size < most:
        yield size
        size *= 2
    yield most
