"""The device part of attention over latents: one pass over the cache, each of whose tiles is read once and used twice.

A row of a program's tile is one head of one query; all heads share the one row that the cache has of a token, so a tile
is as dense as the heads are many. A tile of latents, once in shared memory, is the keys of q Kᵀ as it lies and the
values of the weighted sum transposed. The softmax runs along with the largest logit so far (Milakov & Gimelshein 2018,
arXiv:1805.02867) in base 2. Pieces of a context that several programs share are merged by `split_softmax`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from neokernels.cuda.attention.tiles import CHANGES_BY_STEP, LOG2_E, widened

_BOUNDS = ["requests", "first_token", "end_token", "window", "split_tokens"]


@triton.jit
def _request_of(starts_ptr, requests, tile, first_token, end_token, QUERIES: tl.constexpr):
    """Whose queries a tile holds: those of request r begin with tile (its first row) // QUERIES + r.

    So a grid of (all rows) // QUERIES + requests has room for every step of that size, whatever the lengths.
    """
    AT_ONCE: tl.constexpr = 128
    begun = 0
    for first in range(0, requests, AT_ONCE):
        request = first + tl.arange(0, AT_ONCE)
        start = tl.load(starts_ptr + request, request < requests, other=0)
        row = tl.minimum(tl.maximum(start, first_token), end_token) - first_token
        begun += tl.sum(((row // QUERIES + request <= tile) & (request < requests)).to(tl.int32), 0)
    return begun - 1


@triton.jit
def _load_tile(
    cache_ptr,
    table_ptr,
    key,
    end,
    slot_stride,
    RANK: tl.constexpr,
    ROTARY: tl.constexpr,
    BLOCK_RANK: tl.constexpr,
    BLOCK_ROTARY: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    TILE: tl.constexpr,
):
    """The cached latents and rotary parts of the tokens from `key` on, zeros from `end` on."""
    token = key + tl.arange(0, TILE)
    column = tl.arange(0, BLOCK_RANK)[None, :]
    rotary_column = tl.arange(0, BLOCK_ROTARY)[None, :]
    block = tl.load(table_ptr + token // BLOCK_TOKENS, token < end, other=0)
    slot = cache_ptr + ((block.to(tl.int64) * BLOCK_TOKENS + token % BLOCK_TOKENS) * slot_stride)[:, None]
    here = (token < end)[:, None]
    latent = tl.load(slot + column, here & (column < RANK), other=0.0)
    return latent, tl.load(slot + RANK + rotary_column, here & (rotary_column < ROTARY), other=0.0)


@triton.jit(do_not_specialize=[*_BOUNDS, *CHANGES_BY_STEP], do_not_specialize_on_alignment=CHANGES_BY_STEP)
def latent_attention_kernel(
    query_ptr,
    cache_ptr,
    tables_ptr,
    query_starts_ptr,
    context_lens_ptr,
    sinks_ptr,
    out_ptr,
    logsum_ptr,
    scale,
    requests,
    first_token,
    end_token,
    query_token_stride,
    query_head_stride,
    slot_stride,
    table_stride,
    window,
    split_tokens,
    HEADS: tl.constexpr,
    RANK: tl.constexpr,
    ROTARY: tl.constexpr,
    BLOCK_RANK: tl.constexpr,
    BLOCK_ROTARY: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    WINDOWED: tl.constexpr,
    SINKS: tl.constexpr,
    SPLIT: tl.constexpr,
    ONE_TILE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    TILE: tl.constexpr,
    WAITS: tl.constexpr,
):
    """Rows [first_token, end_token) of the step's queries, over one piece of their context each.

    `scale` is in base 2. ONE_TILE: no request has more queries than a tile. SPLIT: out_ptr and logsum_ptr are the
    buffers of `split_softmax.merge`; else out_ptr is the result. split_tokens is a piece's length, 0 for equal ones.
    """
    if WAITS:
        tl.extra.cuda.gdc_wait()
    TILE_HEADS: tl.constexpr = min(HEADS, BLOCK_M)
    HEAD_TILES: tl.constexpr = (HEADS + TILE_HEADS - 1) // TILE_HEADS
    QUERIES: tl.constexpr = BLOCK_M // TILE_HEADS
    # The last tiles of a prompt see most: they go first.
    tile = (tl.num_programs(0) - 1 - tl.program_id(0)) // HEAD_TILES
    request = tile if ONE_TILE else _request_of(query_starts_ptr, requests, tile, first_token, end_token, QUERIES)
    ends = tl.load(query_starts_ptr + request + 1)
    first = tl.minimum(tl.maximum(tl.load(query_starts_ptr + request), first_token), end_token)
    if not ONE_TILE:
        first += (tile - request - (first - first_token) // QUERIES) * QUERIES
    last = tl.minimum(tl.minimum(first + QUERIES, ends), end_token)
    if first >= last:
        return
    row = tl.arange(0, BLOCK_M)
    head = (tl.program_id(0) % HEAD_TILES) * TILE_HEADS + row % TILE_HEADS
    query_row = first + row // TILE_HEADS
    live = (query_row < last) & (head < HEADS)
    context = tl.load(context_lens_ptr + request)
    position = context - ends + query_row

    start = 0
    end = context - ends + last
    if SPLIT:
        if split_tokens == 0:
            split_tokens = tl.cdiv(context, tl.num_programs(1) * TILE) * TILE
        start = tl.program_id(1) * split_tokens
        end = tl.minimum(end, start + split_tokens)
    seen_from = tl.zeros((BLOCK_M,), tl.int32)
    if WINDOWED:
        seen_from = tl.maximum(position + 1 - window, 0)
        start = tl.maximum(start, tl.maximum(context - ends + first + 1 - window, 0) // TILE * TILE)

    column = tl.arange(0, BLOCK_RANK)[None, :]
    rotary_column = tl.arange(0, BLOCK_ROTARY)[None, :]
    query = query_ptr + (query_row.to(tl.int64) * query_token_stride + head * query_head_stride)[:, None]
    latent_query = tl.load(query + column, live[:, None] & (column < RANK), other=0.0)
    rotary_query = tl.load(query + RANK + rotary_column, live[:, None] & (rotary_column < ROTARY), other=0.0)

    largest = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    if SINKS:
        # A logit without a value, in the first piece that a row sees anything of.
        sinking = live
        if SPLIT:
            sinking = live & (seen_from // split_tokens == tl.program_id(1))
        sink = tl.load(sinks_ptr + head, sinking, other=0.0).to(tl.float32) * LOG2_E
        largest = tl.where(sinking, sink, largest)
        total = tl.where(sinking, 1.0, total)
    out = tl.zeros((BLOCK_M, BLOCK_RANK), tl.float32)
    table = tables_ptr + request.to(tl.int64) * table_stride
    # What is widened comes a tile ahead, in registers, and is widened once for both products: the compiler copies no
    # eight bits asynchronously to where both would read them.
    AHEAD: tl.constexpr = cache_ptr.dtype.element_ty.primitive_bitwidth == 8
    if AHEAD:
        next_latent, next_rotary = _load_tile(
            cache_ptr, table, start, end, slot_stride, RANK, ROTARY, BLOCK_RANK, BLOCK_ROTARY, BLOCK_TOKENS, TILE
        )
    for key in range(start, end, TILE):
        token = key + tl.arange(0, TILE)
        if AHEAD:
            latent, rotary = next_latent, next_rotary
            next_latent, next_rotary = _load_tile(
                cache_ptr,
                table,
                key + TILE,
                end,
                slot_stride,
                RANK,
                ROTARY,
                BLOCK_RANK,
                BLOCK_ROTARY,
                BLOCK_TOKENS,
                TILE,
            )
        else:
            latent, rotary = _load_tile(
                cache_ptr, table, key, end, slot_stride, RANK, ROTARY, BLOCK_RANK, BLOCK_ROTARY, BLOCK_TOKENS, TILE
            )
        latent, rotary = widened(latent, latent_query.dtype), widened(rotary, latent_query.dtype)
        scores = tl.dot(rotary_query, rotary.T, input_precision="ieee")
        scores = tl.dot(latent_query, latent.T, scores, input_precision="ieee")
        # Pieces are whole tiles, so what lies behind one is behind every query, too.
        seen = token[None, :] <= position[:, None]
        if WINDOWED:
            seen = seen & (token[None, :] >= seen_from[:, None])
        scores = tl.where(seen, scores * scale, float("-inf"))
        new_largest = tl.maximum(largest, tl.max(scores, 1))
        # A row that has seen nothing yet has no maximum; anything finite leaves its zeros as they are.
        reference = tl.where(new_largest == float("-inf"), 0.0, new_largest)
        weight = tl.exp2(scores - reference[:, None])
        kept = tl.exp2(largest - reference)
        total = total * kept + tl.sum(weight, 1)
        out = tl.dot(weight.to(latent.dtype), latent, out * kept[:, None], input_precision="ieee")
        largest = new_largest

    result = out / total[:, None]
    inside = live[:, None] & (column < RANK)
    if SPLIT:
        piece = ((query_row - first_token).to(tl.int64) * HEADS + head) * tl.num_programs(1) + tl.program_id(1)
        tl.store(logsum_ptr + piece, largest + tl.log2(total), live)
        tl.store(out_ptr + piece[:, None] * RANK + column, result, inside & (total > 0)[:, None])
    else:
        target = query_row.to(tl.int64) * HEADS + head
        tl.store(out_ptr + target[:, None] * RANK + column, result.to(out_ptr.dtype.element_ty), inside)
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


SOURCES = (latent_attention_kernel, _load_tile, _request_of, widened)
