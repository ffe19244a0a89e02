"""What both kernels of paged attention are made of: query rows that go over tiles of a request's keys and values.

The query heads that share a KV head lie in the rows of one product, row r being head r % GROUP of query r // GROUP, so
that a key is read once for all of them. Softmax is kept as running maximum, sum and output (Milakov & Gimelshein 2018,
arXiv:1805.02867) to base 2, the logits' scale holding log₂ e. What a step of it computes does not depend on where a row
lies in the product, nor on whether a mask was needed, and a tile of which a row sees nothing changes no bit of it.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.target_info import cuda_capability_geq

LOG2_E = tl.constexpr(1.4426950408889634)
CHANGES_BY_STEP = ["tables_ptr", "query_starts_ptr", "context_lens_ptr", "table_stride"]
"""What a kernel is not compiled anew for: alignment is nothing to numbers that are read one by one."""


def width(dim: int) -> int:
    """Columns of a product for vectors of `dim` numbers."""
    return max(16, int(triton.next_power_of_2(dim)))


@triton.jit
def load_queries(query_ptr, token, head, live, token_stride, head_stride, DIM: tl.constexpr, WIDTH: tl.constexpr):
    """[rows, WIDTH] with zeros beyond DIM and where no query lives."""
    column = tl.arange(0, WIDTH)
    at = query_ptr + token.to(tl.int64)[:, None] * token_stride + head[:, None] * head_stride + column[None, :]
    return tl.load(at, live[:, None] & (column < DIM)[None, :], other=0.0)


@triton.jit
def empty_softmax(sinks_ptr, head, live, WIDTH: tl.constexpr):
    """(largest, total, weighted) of rows before their first key. A sink is a logit with no value, of rows that live."""
    if sinks_ptr is None:
        largest = tl.full(head.shape, float("-inf"), tl.float32)
    else:
        largest = tl.load(sinks_ptr + head, live, other=float("-inf")).to(tl.float32) * LOG2_E
    total = tl.where(largest > float("-inf"), 1.0, 0.0)
    return largest, total, tl.zeros((head.shape[0], WIDTH), tl.float32)


@triton.jit
def _load_rows(cache, slot, DIM: tl.constexpr, WIDTH: tl.constexpr):
    """[tokens, WIDTH] of a cache (pointer, stride of slots), zeros beyond DIM."""
    pointer, stride = cache
    column = tl.arange(0, WIDTH)
    at = pointer + (slot.to(tl.int64) * stride)[:, None] + column[None, :]
    return tl.load(at) if DIM == WIDTH else tl.load(at, (column < DIM)[None, :], other=0.0)


@triton.jit
def widened(tile, dtype: tl.constexpr):
    """A tile of a cache as it is multiplied."""
    if tile.dtype.primitive_bitwidth == 8 and not cuda_capability_geq(10):
        # Hopper goes by float16, from which to bfloat16 there is no fast way but this; Blackwell goes straight.
        tile = tile.to(tl.float32)
    return tile.to(dtype)


@triton.jit
def attend_tiles(
    query,
    softmax,
    position,
    first,
    end,
    keys,
    values,
    table_ptr,
    scale,
    window,
    KEY_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    TILE: tl.constexpr,
    MASKED: tl.constexpr,
    WINDOWED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """`softmax` (largest, total, weighted) with the tokens first..end − 1 taken in; `first` is a multiple of TILE.

    query [rows, width]; position [rows], each row's own token, before `end` where the row matters; keys and values
    (pointer to the KV head in the first slot, stride of slots). Without MASKED every row sees all those tokens, and
    they fill their tiles.
    """
    largest, total, weighted = softmax
    # Behind the last token it is read again: no one else's data, and no numbers that a weight of zero leaves NaN.
    last = tl.maximum(end - 1, 0)
    block = tl.load(table_ptr + tl.minimum(first + tl.arange(0, TILE), last) // BLOCK_TOKENS)
    for start in tl.range(first, end, TILE):
        key = start + tl.arange(0, TILE)
        slot = block * BLOCK_TOKENS + tl.minimum(key, last) % BLOCK_TOKENS
        tile = widened(_load_rows(keys, slot, KEY_DIM, query.shape[1]), query.dtype)
        logits = tl.dot(query, tl.trans(tile), input_precision=PRECISION)
        if MASKED:
            seen = key[None, :] <= position[:, None]
            if WINDOWED:
                seen &= key[None, :] > position[:, None] - window
            logits = tl.where(seen, logits, float("-inf"))
        new_largest = tl.maximum(largest, tl.max(logits, 1) * scale)
        # A row that has seen nothing yet has no maximum; anything finite leaves its zeros as they are.
        reference = tl.where(new_largest == float("-inf"), 0.0, new_largest)
        weights = tl.exp2(tl.fma(logits, scale, -reference[:, None]))
        kept = tl.exp2(largest - reference)
        total = tl.fma(total, kept, tl.sum(weights, 1))
        tile = widened(_load_rows(values, slot, VALUE_DIM, weighted.shape[1]), query.dtype)
        weighted = tl.dot(weights.to(query.dtype), tile, weighted * kept[:, None], input_precision=PRECISION)
        largest = new_largest
        # Looked up a tile ahead, so that reading the rows waits for nothing.
        block = tl.load(table_ptr + tl.minimum(key + TILE, last) // BLOCK_TOKENS)
    return largest, total, weighted


SOURCES = (load_queries, empty_softmax, _load_rows, widened, attend_tiles)
