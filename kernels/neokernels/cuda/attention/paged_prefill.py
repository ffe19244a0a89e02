"""Paged attention of steps of any kind: prompts, chunks of prompts and decodes side by side.

A program takes some queries of one request, with the query heads of one KV head, over all they see: first the tiles of
keys that all of them see whole, then those on the causal diagonal; under a window every tile is near an edge. Which
queries these are it finds on the device, so that the grid depends on the numbers of tokens and requests alone and a
CUDA graph replays it with other lengths. What a row gets does not depend on its place among them: the bits are the
same however a prompt was cut, and this kernel alone answers where that is promised.

Bound: the tensor cores. A tile of keys serves BLOCK_M rows, which reads 1/128 of a byte a FLOP from the second-level
cache at 128 rows; late queries, which see most, start first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import triton
import triton.language as tl
from torch import Tensor

from neokernels.cuda.attention.problem import AttentionKernel, AttentionProblem
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
from neokernels.tuning.space import Config, Inputs, Knob, Outputs

_RESERVED_SHARED = 3072
"""Bytes for barriers, and what the driver keeps."""
_STARTS = tl.constexpr(128)
"""Requests looked at together: one load is sooner there than those of a search, each of which waits for the last."""


@triton.jit
def _request_of(program, query_starts_ptr, requests, QUERIES: tl.constexpr):
    """(request, its first program) where request r has programs from query_starts[r] // QUERIES + r on.

    That is at least as many as it has blocks of queries, whatever the lengths.
    """
    not_later = 0
    for first in range(0, requests, _STARTS):
        request = first + tl.arange(0, _STARTS)
        start = tl.load(query_starts_ptr + request, request < requests, other=0)
        not_later += tl.sum(((start // QUERIES + request <= program) & (request < requests)).to(tl.int32), 0)
    request = not_later - 1
    return request, tl.load(query_starts_ptr + request) // QUERIES + request


@triton.jit(do_not_specialize=["requests", *CHANGES_BY_STEP], do_not_specialize_on_alignment=CHANGES_BY_STEP)
def prefill_kernel(
    query_ptr,
    keys_ptr,
    values_ptr,
    sinks_ptr,
    out_ptr,
    tables_ptr,
    query_starts_ptr,
    context_lens_ptr,
    requests,
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
    KEY_DIM: tl.constexpr,
    KEY_WIDTH: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    ALIKE: tl.constexpr,
    WINDOWED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    TILE: tl.constexpr,
):
    """ALIKE: the caches have the same strides."""
    QUERIES: tl.constexpr = BLOCK_M // GROUP
    program = tl.num_programs(0) - 1 - tl.program_id(0)
    kv_head = tl.program_id(1)
    request, first_program = _request_of(program, query_starts_ptr, requests, QUERIES)
    first_token = tl.load(query_starts_ptr + request)
    query_len = tl.load(query_starts_ptr + request + 1) - first_token
    first_query = (program - first_program) * QUERIES
    if first_query >= query_len:
        return
    before = tl.load(context_lens_ptr + request) - query_len + first_query
    queries = tl.minimum(QUERIES, query_len - first_query)

    row = tl.arange(0, BLOCK_M)
    head = kv_head * GROUP + row % GROUP
    live = row < queries * GROUP
    token = first_token + first_query + row // GROUP
    query = load_queries(query_ptr, token, head, live, query_token_stride, query_head_stride, KEY_DIM, KEY_WIDTH)
    softmax = empty_softmax(sinks_ptr, head, live, VALUE_WIDTH)
    position = before + row // GROUP
    keys = (keys_ptr + kv_head.to(tl.int64) * key_head_stride, key_stride)
    values = (values_ptr + kv_head.to(tl.int64) * value_head_stride, key_stride if ALIKE else value_stride)
    table_ptr = tables_ptr + request.to(tl.int64) * table_stride
    if WINDOWED:
        masked_from = tl.maximum(before + 1 - window, 0) // TILE * TILE
    else:
        masked_from = (before + 1) // TILE * TILE
        softmax = attend_tiles(
            query,
            softmax,
            position,
            0,
            masked_from,
            keys,
            values,
            table_ptr,
            scale,
            window,
            KEY_DIM,
            VALUE_DIM,
            BLOCK_TOKENS,
            TILE,
            False,
            WINDOWED,
            PRECISION,
        )
    _, total, weighted = attend_tiles(
        query,
        softmax,
        position,
        masked_from,
        before + queries,
        keys,
        values,
        table_ptr,
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
    column = tl.arange(0, VALUE_WIDTH)
    out_row = token.to(tl.int64) * (tl.num_programs(1) * GROUP) + head
    at = out_ptr + out_row[:, None] * VALUE_DIM + column[None, :]
    out = (weighted / total[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(at, out, live[:, None] & (column < VALUE_DIM)[None, :])


@dataclass(frozen=True, kw_only=True)
class PagedPrefill(AttentionProblem):
    batch_fields: ClassVar = {"tokens": 2048, "requests": 16, "context": 4096}

    tokens: int
    requests: int
    context: int
    """Most tokens a context may have."""


_EIGHT_BILLION = PagedPrefill(
    tokens=8192, requests=4, context=4096, query_heads=32, kv_heads=8, key_dim=128, value_dim=128, block_tokens=16
)
"""Qwen3-8B and Llama-3.1-8B."""


def attend_any(
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
    """As `neokernels.paged_attention.paged_attention_reference`."""
    requests, blocks = layout.block_tables.shape
    step = {"tokens": len(query), "requests": requests, "context": blocks * layout.block_tokens}
    problem = PagedPrefill.of(query, key_cache, value_cache, layout.block_tokens, window, sinks, **step)
    config = schedules.config(PAGED_PREFILL, problem)
    out = query.new_empty((*query.shape[:2], problem.value_dim))
    programs = len(query) // (config.number("BLOCK_M") // problem.group) + requests
    prefill_kernel[(programs, problem.kv_heads)](
        query,
        key_cache,
        value_cache,
        sinks,
        out,
        layout.block_tables,
        *layout.on_device,
        requests,
        scale * LOG2_E.value,
        problem.window,
        *query.stride()[:2],
        *key_cache.stride()[1:3],
        *value_cache.stride()[1:3],
        layout.block_tables.stride(0),
        GROUP=problem.group,
        KEY_DIM=problem.key_dim,
        KEY_WIDTH=width(problem.key_dim),
        VALUE_DIM=problem.value_dim,
        VALUE_WIDTH=width(problem.value_dim),
        BLOCK_TOKENS=layout.block_tokens,
        ALIKE=key_cache.stride() == value_cache.stride(),
        WINDOWED=window is not None,
        PRECISION="ieee",
        **config.constants,
        **config.options,
    )
    return out


class PagedPrefillAttention(AttentionKernel[PagedPrefill]):
    name = "paged_prefill"
    problem_type = PagedPrefill
    sources = (prefill_kernel, _request_of, *SOURCES)
    knobs = (
        Knob("BLOCK_M", (16, 32, 64, 128, 256)),
        Knob("TILE", (16, 32, 64, 128)),
        Knob("num_warps", (4, 8)),
        Knob("num_stages", (2, 3, 4)),
    )
    examples = (
        _EIGHT_BILLION,
        replace(_EIGHT_BILLION, query_heads=64, key_dim=64, value_dim=64, window=128, sinks=True),  # gpt-oss
    )

    def problems(self, model: ModelShape) -> Iterator[PagedPrefill]:
        if model.latent is None:
            for window in model.windows:
                for tokens in model.prefill_tokens:
                    requests = triton.cdiv(tokens, model.context)
                    yield PagedPrefill.of_model(model, window, tokens=tokens, requests=requests, context=model.context)

    def heuristic(self, problem: PagedPrefill, device: Device) -> Config:
        rows, wide = triton.next_power_of_2(problem.group), width(max(problem.key_dim, problem.value_dim))
        if problem.dtype == "float32":
            return Config(BLOCK_M=max(32, rows), TILE=16, num_warps=8, num_stages=2)
        few = triton.cdiv(problem.tokens * problem.group, 128) * problem.kv_heads < device.multiprocessors
        if few and rows <= 64 and wide <= 128:
            rows, tile, warps, stages = 64, 64, 4, 3
        elif problem.key_dim == problem.value_dim == 128:
            rows, tile, warps, stages = max(128, rows), 128, 8, 2
        else:
            rows, tile, warps, stages = max(128, rows), 64 if wide <= 128 else 32, 8, 3
        while tile > 16 and 2 * wide * (rows + 2 * stages * tile) + _RESERVED_SHARED > device.shared_bytes:
            tile, stages = (tile // 2, 2) if stages == 2 else (tile, 2)
        return Config(BLOCK_M=rows, TILE=tile, num_warps=warps, num_stages=stages)

    def expects(self, problem: PagedPrefill, config: Config, device: Device) -> tuple[str, ...]:
        return "cp.async.cg", *device.wide_products

    def makes_sense(self, problem: PagedPrefill, config: Config, device: Device) -> bool:
        return config.number("BLOCK_M") >= problem.group

    def lengths(self, problem: PagedPrefill) -> Sequence[tuple[int, int]]:
        # Chunks of like length behind contexts between half of the longest and all of it.
        chunk, spread = problem.tokens // problem.requests, max(1, problem.context // 2)
        return [(chunk, max(chunk, problem.context - 997 * request % spread)) for request in range(problem.requests)]

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (attend_any(*inputs, schedules=schedules),)


PAGED_PREFILL = PagedPrefillAttention()
