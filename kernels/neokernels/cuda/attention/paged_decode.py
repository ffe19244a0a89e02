"""Paged attention of a few queries a request, each context split over many programs.

A program takes one KV head of one request, its queries and query heads in the rows of one product, over one piece of
the context; `split_softmax` makes one softmax of the pieces. How many pieces there are follows from bounds that the
host knows, where they lie from lengths on the device: a CUDA graph replays the launch with other lengths, every piece
of a context is as long as the others, and a piece behind the end of a short context is left at once.

Bound: memory, each key and value read once. A program has all but one of its `num_stages` tiles under way, page numbers
are looked up a tile earlier, and there are as many pieces as make the waves of programs full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar

import triton
import triton.language as tl
from torch import Tensor

from neokernels.cuda.attention.problem import AttentionKernel, AttentionProblem, batches
from neokernels.cuda.attention.split_softmax import merge, merge_kernel, piece_buffers
from neokernels.cuda.attention.tiles import (
    CHANGES_BY_STEP,
    LOG2_E,
    SOURCES,
    attend_tiles,
    empty_softmax,
    load_queries,
    width,
)
from neokernels.device import Device
from neokernels.paged_attention import PagedLayout
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, named_dtype

_FEWEST_ROWS = 16
"""Of a product of tensor cores."""
_TILE_NUMBERS = 8192
"""Of the keys of a tile. Two tiles under way, of 32 KiB with their values in bfloat16, in each of three programs keep a
multiprocessor's share of the memory busy."""
_BUSY = 0.9
"""Share of a device's places for programs that are to be taken on average, the last wave included."""


@triton.jit(do_not_specialize=CHANGES_BY_STEP, do_not_specialize_on_alignment=CHANGES_BY_STEP)
def decode_kernel(
    query_ptr,
    keys_ptr,
    values_ptr,
    sinks_ptr,
    out_ptr,
    logsum_ptr,
    tables_ptr,
    query_starts_ptr,
    context_lens_ptr,
    scale,
    window,
    query_token_stride,
    query_head_stride,
    key_stride,
    key_head_stride,
    value_stride,
    value_head_stride,
    table_stride,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    KEY_DIM: tl.constexpr,
    KEY_WIDTH: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    ALIKE: tl.constexpr,
    WINDOWED: tl.constexpr,
    PRECISION: tl.constexpr,
    TILE: tl.constexpr,
    WAITS: tl.constexpr,
):
    """`logsum_ptr` None: there is one piece, whose result is that of all. ALIKE: the caches have the same strides."""
    if WAITS:
        tl.extra.cuda.gdc_wait()
    kv_head, piece, request = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    pieces = tl.num_programs(1)
    first_token = tl.load(query_starts_ptr + request)
    query_len = tl.load(query_starts_ptr + request + 1) - first_token
    context_len = tl.load(context_lens_ptr + request)
    if query_len == 0:
        return
    before = context_len - query_len
    begin = 0
    if WINDOWED:
        begin = tl.maximum(before + 1 - window, 0) // TILE * TILE
    length = tl.cdiv(tl.cdiv(context_len - begin, TILE), pieces) * TILE
    first = begin + piece * length
    end = tl.minimum(first + length, context_len)

    row = tl.arange(0, ROWS)
    head = kv_head * GROUP + row % GROUP
    live = row < query_len * GROUP
    token = first_token + row // GROUP
    out_row = token.to(tl.int64) * (tl.num_programs(0) * GROUP) + head
    if logsum_ptr is not None:
        out_row = out_row * pieces + piece
        if first >= end:
            tl.store(logsum_ptr + out_row, tl.full((ROWS,), float("-inf"), tl.float32), live)
            return
    query = load_queries(query_ptr, token, head, live, query_token_stride, query_head_stride, KEY_DIM, KEY_WIDTH)
    largest, total, weighted = attend_tiles(
        query,
        empty_softmax(sinks_ptr, head, row < tl.where(piece == 0, query_len * GROUP, 0), VALUE_WIDTH),
        before + row // GROUP,
        first,
        end,
        (keys_ptr + kv_head.to(tl.int64) * key_head_stride, key_stride),
        (values_ptr + kv_head.to(tl.int64) * value_head_stride, key_stride if ALIKE else value_stride),
        tables_ptr + request.to(tl.int64) * table_stride,
        scale,
        window,
        KEY_DIM,
        VALUE_DIM,
        BLOCK_TOKENS,
        TILE,
        True,
        WINDOWED,
        PRECISION,
    )
    if logsum_ptr is not None:
        tl.store(logsum_ptr + out_row, largest + tl.log2(total), live)
        # A query need not see any token of a piece.
        total = tl.where(total > 0.0, total, 1.0)
    column = tl.arange(0, VALUE_WIDTH)
    at = out_ptr + out_row[:, None] * VALUE_DIM + column[None, :]
    out = (weighted / total[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(at, out, live[:, None] & (column < VALUE_DIM)[None, :])
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


@dataclass(frozen=True, kw_only=True)
class PagedDecode(AttentionProblem):
    batch_fields: ClassVar = {"requests": 64, "context": 4096}

    requests: int
    context: int
    """Most tokens a context may have."""
    query_len: int = 1
    """Most queries of a request."""

    @property
    def rows(self) -> int:
        """Of a program's products."""
        return max(_FEWEST_ROWS, int(triton.next_power_of_2(self.query_len * self.group)))

    @property
    def seen(self) -> int:
        """Most tokens that a request's queries see."""
        return min(self.context, self.window + self.query_len - 1) if self.window else self.context


_EIGHT_BILLION = PagedDecode(
    requests=64, context=4096, query_heads=32, kv_heads=8, key_dim=128, value_dim=128, block_tokens=16
)
"""Qwen3-8B and Llama-3.1-8B."""


def attend_few(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    layout: PagedLayout,
    scale: float,
    window: int | None = None,
    sinks: Tensor | None = None,
    *,
    schedules: Schedules,
) -> Tensor:
    """As `neokernels.paged_attention.paged_attention_reference`, for queries and their heads that fit one product."""
    (requests, blocks), longest = layout.block_tables.shape, layout.longest_query
    context = blocks * layout.block_tokens
    step = {"requests": requests, "context": context, "query_len": longest}
    problem = PagedDecode.of(query, key_cache, value_cache, layout.block_tokens, window, sinks, **step)
    config = schedules.config(PAGED_DECODE, problem)
    tile = config.number("TILE")
    pieces = min(config.number("splits"), triton.cdiv(problem.seen, tile) + (problem.window > 0))
    out = query.new_empty((*query.shape[:2], problem.value_dim))
    rows = query.shape[0] * query.shape[1]
    partial, logsum = (out, None) if pieces == 1 else piece_buffers(rows, pieces, problem.value_dim, query.device)
    decode_kernel[(problem.kv_heads, pieces, requests)](
        query,
        key_cache,
        value_cache,
        sinks,
        partial,
        logsum,
        layout.block_tables,
        *layout.on_device,
        scale * LOG2_E.value,
        problem.window,
        *query.stride()[:2],
        *key_cache.stride()[1:3],
        *value_cache.stride()[1:3],
        layout.block_tables.stride(0),
        GROUP=problem.group,
        ROWS=problem.rows,
        KEY_DIM=problem.key_dim,
        KEY_WIDTH=width(problem.key_dim),
        VALUE_DIM=problem.value_dim,
        VALUE_WIDTH=width(problem.value_dim),
        BLOCK_TOKENS=layout.block_tokens,
        ALIKE=key_cache.stride() == value_cache.stride(),
        WINDOWED=window is not None,
        PRECISION="ieee",
        WAITS=config.waits,
        **config.constants,
        **config.options,
    )
    if logsum is not None:
        at_once = max(8, min(32, triton.next_power_of_2(pieces)))
        merge(partial, logsum, out.view(rows, -1), at_once=at_once, launch_pdl=config.waits)
    return out


class PagedDecodeAttention(AttentionKernel[PagedDecode]):
    name = "paged_decode"
    problem_type = PagedDecode
    sources = (decode_kernel, *SOURCES, merge_kernel)
    knobs = (
        Knob("TILE", (16, 32, 64, 128)),
        Knob("splits", (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128)),
        Knob("num_warps", (1, 2, 4, 8)),
        Knob("num_stages", (2, 3, 4, 5)),
        Knob("launch_pdl", (False, True)),
    )
    examples = (
        _EIGHT_BILLION,
        replace(_EIGHT_BILLION, query_heads=64, key_dim=64, value_dim=64, window=128, sinks=True),  # gpt-oss
        replace(_EIGHT_BILLION, requests=16, context=32768, query_len=4, kv_dtype="float8_e4m3fn"),
    )

    def problems(self, model: ModelShape) -> Iterator[PagedDecode]:
        if model.latent is None:
            for requests, window in batches(model):
                yield PagedDecode.of_model(model, window, requests=requests, context=model.context)

    def heuristic(self, problem: PagedDecode, device: Device) -> Config:
        wide = width(max(problem.key_dim, problem.value_dim))
        if problem.dtype == "float32":
            tile, stages = 16, 3
        else:
            tile = max(16, min(128, _TILE_NUMBERS // wide))
            stages = 3 if named_dtype(problem.kv_dtype).itemsize > 1 else 5
        together = 3 if problem.rows == _FEWEST_ROWS else 2
        programs = problem.requests * problem.kv_heads
        splits = _even_splits(programs, together * device.multiprocessors, most=triton.cdiv(problem.seen, 2 * tile))
        # Sixty-four rows are what one warp group of Hopper multiplies.
        warps = 4 if problem.rows * wide <= 2048 or (problem.rows == 64 and wide <= 128) else 8
        return Config(TILE=tile, splits=splits, num_warps=warps, num_stages=stages, launch_pdl=False)

    def shipped(self, problem: PagedDecode, device: Device) -> tuple[Config, ...]:
        config = self.heuristic(problem.bucket(), device)
        return (config, config.changed(launch_pdl=True)) if problem == self.examples[0] else (config,)

    def expects(self, problem: PagedDecode, config: Config, device: Device) -> tuple[str, ...]:
        return "cp.async.cg", "mma.sync"

    def makes_sense(self, problem: PagedDecode, config: Config, device: Device) -> bool:
        return config.number("splits") * config.number("TILE") <= max(problem.seen, config.number("TILE"))

    def lengths(self, problem: PagedDecode) -> Sequence[tuple[int, int]]:
        # Between three quarters of the longest context and all of it.
        spread = max(1, problem.context // 4)
        return [
            (problem.query_len, max(problem.query_len, problem.context - 97 * request % spread))
            for request in range(problem.requests)
        ]

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (attend_few(*inputs, schedules=schedules),)


def _even_splits(programs: int, room: int, most: int) -> int:
    """The fewest pieces of each of `programs` that fill waves of `room` programs; `most` where none do."""
    for splits in range(1, most):
        waves = programs * splits / room
        if waves >= _BUSY * ceil(waves):
            return splits
    return most


PAGED_DECODE = PagedDecodeAttention()
