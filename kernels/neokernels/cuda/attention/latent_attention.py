"""Attention over the latent cache of DeepSeek's models: one row of a token is the key of all heads and, less its
rotary part, their value.

A program takes the heads of one or of a few queries as the rows of one product, over one piece of their context, and
reads each tile of the cache once for both products. One kernel serves decode, prefill and what is mixed of them.

Bound: memory for a decode of few heads (a rank's 16 of DeepSeek-V3's 128 make 30 FLOPs of each byte of the cache),
where tiles of 16 rows by mma.sync leave room for two programs a multiprocessor, with two tiles of the cache under way
each. The tensor cores for prefills and for decodes of 128 heads (242 FLOPs a byte): there 64 rows go by wgmma or
tcgen05. Not more than 64, for their sum is 512 columns wide: in float32 half of Hopper's registers, and in Blackwell's
tensor memory all columns that there are. Two warp groups halve its columns on Hopper, but Triton has both compute the
whole logits, which makes the products there half as many again; halving the columns over programs would read the cache
twice on top. Tiles are of 32 tokens, so that three fit beside 64 queries of 576 numbers in shared memory.

Where a row's bits may not depend on the batch, prefills go by the schedule of a decode as well, and contexts are cut
into pieces of one length: slower, and the same for every way that a token may come to be computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import triton
from torch import Tensor

from neokernels.cuda.attention.latent_attention_kernel import SOURCES, latent_attention_kernel
from neokernels.cuda.attention.problem import AttentionKernel, AttentionProblem
from neokernels.cuda.attention.split_softmax import merge, merge_kernel, piece_buffers
from neokernels.cuda.attention.tiles import LOG2_E, width
from neokernels.device import Device
from neokernels.paged_attention import PagedLayout
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Work, named_dtype

_FEWEST_ROWS = 16
"""Of a product of tensor cores."""
_MOST_ROWS = 64
_ROOM_FOR_ROWS = 128 << 10
"""Bytes of shared memory, for more than the fewest."""
_SHORTEST_PIECE = 256
"""Tokens, below which merging costs more than another program brings."""
_PIECE_BYTES = 256 << 20
"""Of the results of pieces at a time. Only a long prefill whose pieces are of fixed length comes near it."""


@dataclass(frozen=True, kw_only=True)
class LatentStep(AttentionProblem):
    batch_fields: ClassVar = {"tokens": 64, "requests": 64, "query_len": 1, "context": 4096}

    tokens: int
    """Queries of all requests."""
    requests: int
    query_len: int
    """Most queries of a request."""
    context: int
    """Most tokens a context may have."""

    def queries(self, rows: int) -> int:
        """How many of them go into `rows` rows of a product with all heads, or with as many as there is room for."""
        return max(1, rows // self.query_heads)

    def programs(self, rows: int) -> int:
        """How many with `rows` rows go over the queries of a step of this size, whatever their lengths."""
        queries = self.queries(rows)
        tiles = self.requests if self.query_len <= queries else self.tokens // queries + self.requests
        return tiles * -(-self.query_heads // rows)


def reads_latents(key_cache: Tensor, value_cache: Tensor) -> bool:
    """Whether a cache is one of latents: with one KV head, whose values are the first columns of its keys."""
    return (
        key_cache.shape[2] == 1
        and value_cache.data_ptr() == key_cache.data_ptr()
        and value_cache.stride() == key_cache.stride()
    )


def latent_attention(
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
    """As `neokernels.paged_attention.paged_attention_reference`, for caches that `reads_latents` says yes of."""
    tokens, heads = query.shape[:2]
    requests, blocks = layout.block_tables.shape
    longest, context = max(layout.query_lens, default=0), blocks * layout.block_tokens
    step = {"tokens": tokens, "requests": requests, "query_len": longest, "context": context}
    problem = LatentStep.of(query, key_cache, value_cache, layout.block_tokens, window, sinks, **step)
    out = query.new_empty((tokens, heads, problem.value_dim))
    if not tokens:
        return out
    config = schedules.config(LATENT_ATTENTION, problem)
    rows = config.number("BLOCK_M")
    pieces, piece_tokens = _pieces(problem, config, schedules.batch_invariant)
    at_once = tokens if pieces == 1 else max(1, _PIECE_BYTES // (4 * heads * pieces * problem.value_dim))
    buffers = (
        None if pieces == 1 else piece_buffers(min(tokens, at_once) * heads, pieces, problem.value_dim, out.device)
    )
    for first in range(0, tokens, at_once):
        end = min(tokens, first + at_once)
        partial, logsum = (out, None) if buffers is None else (buffer[: (end - first) * heads] for buffer in buffers)
        latent_attention_kernel[(replace(problem, tokens=end - first).programs(rows), pieces)](
            query,
            key_cache,
            layout.block_tables,
            *layout.on_device,
            sinks,
            partial,
            logsum,
            scale * LOG2_E.value,
            requests,
            first,
            end,
            *query.stride()[:2],
            key_cache.stride(1),
            layout.block_tables.stride(0),
            problem.window,
            piece_tokens,
            HEADS=heads,
            RANK=problem.value_dim,
            ROTARY=problem.key_dim - problem.value_dim,
            BLOCK_RANK=width(problem.value_dim),
            BLOCK_ROTARY=width(problem.key_dim - problem.value_dim),
            BLOCK_TOKENS=layout.block_tokens,
            WINDOWED=window is not None,
            SINKS=sinks is not None,
            SPLIT=logsum is not None,
            ONE_TILE=longest <= problem.queries(rows),
            WAITS=config.waits,
            **config.constants,
            **config.options,
        )
        if logsum is not None:
            merge(partial, logsum, out[first:end].view((end - first) * heads, -1), launch_pdl=config.waits)
    return out


def _pieces(problem: LatentStep, config: Config, batch_invariant: bool) -> tuple[int, int]:
    """How many pieces contexts are read in, and of how many tokens: 0 where each is cut into pieces of one length."""
    keys = config.number("TILE")
    if batch_invariant:
        # What a query sees is cut at the same places whatever is computed beside it, and however long its context.
        tokens = triton.cdiv(problem.batch_fields["context"], config.number("splits") * keys) * keys
        return triton.cdiv(problem.context, tokens), tokens
    return min(config.number("splits"), triton.cdiv(problem.context, keys)), 0


def _most_rows(cached_bytes: int, device: Device) -> int:
    """Of a product, for cached numbers of so many bytes."""
    if device.shared_bytes < _ROOM_FOR_ROWS:
        return _FEWEST_ROWS
    # What is widened on its way into a product goes through registers, which the most rows leave none of; they need
    # sums in the tensor memory or in two warp groups, too.
    return _MOST_ROWS if cached_bytes == 2 and device.capability >= 90 else _MOST_ROWS // 2


class LatentAttention(AttentionKernel[LatentStep]):
    name = "latent_attention"
    problem_type = LatentStep
    sources = (*SOURCES, merge_kernel)
    knobs = (
        Knob("BLOCK_M", (16, 32, 64)),
        Knob("TILE", (16, 32, 64)),
        Knob("splits", (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)),
        Knob("num_warps", (4, 8)),
        Knob("num_stages", (2, 3, 4, 5, 7)),
        Knob("launch_pdl", (False, True)),
    )
    examples = tuple(
        LatentStep(context=4096, kv_heads=1, key_dim=576, value_dim=512, block_tokens=16, **step)
        for step in (
            {"tokens": 64, "requests": 64, "query_len": 1, "query_heads": 16},
            {"tokens": 64, "requests": 64, "query_len": 1, "query_heads": 16, "kv_dtype": "float8_e4m3fn"},
            {"tokens": 64, "requests": 64, "query_len": 1, "query_heads": 128},
            {"tokens": 2048, "requests": 4, "query_len": 512, "query_heads": 16},
        )
    )

    def problems(self, model: ModelShape) -> Iterator[LatentStep]:
        if model.latent is None:
            return
        latent, context = model.latent, model.context
        steps = [(requests, requests) for requests in model.decode_batches]
        steps += [(tokens, triton.cdiv(tokens, context)) for tokens in model.prefill_tokens]
        for window in model.windows:
            for tokens, requests in steps:
                step = {"tokens": tokens, "requests": requests, "query_len": tokens // requests, "context": context}
                problem = LatentStep.of_model(model, window, **step)
                yield replace(problem, kv_heads=1, key_dim=latent.rank + latent.rotary_dim, value_dim=latent.rank)

    def heuristic(self, problem: LatentStep, device: Device) -> Config:
        size = named_dtype(problem.kv_dtype).itemsize
        wanted = max(_FEWEST_ROWS, triton.next_power_of_2(problem.query_heads * problem.query_len))
        rows = min(wanted, _most_rows(size, device))
        light = rows == _FEWEST_ROWS and size == 2
        at_once = (2 if light else 1) * device.multiprocessors
        splits = max(1, min(at_once // problem.programs(rows), problem.context // _SHORTEST_PIECE, 64))
        return Config(
            BLOCK_M=rows,
            # Of eight bits there is room for more tokens, which share the instructions that any tile takes.
            TILE={1: 64 if rows == _FEWEST_ROWS else 32, 2: 32, 4: 16}[size],
            splits=splits,
            num_warps=4 if light else 8,
            num_stages=5 if size == 2 else 2,
            launch_pdl=False,
        )

    def shipped(self, problem: LatentStep, device: Device) -> tuple[Config, ...]:
        config = self.heuristic(problem.bucket(), device)
        return (config.changed(launch_pdl=True),) if problem.query_len == 1 else (config,)

    def expects(self, problem: LatentStep, config: Config, device: Device) -> tuple[str, ...]:
        products = device.wide_products if config.number("BLOCK_M") == _MOST_ROWS else ("mma.sync",)
        return "ld.global.v4" if problem.kv_dtype == "float8_e4m3fn" else "cp.async.cg", *products

    def makes_sense(self, problem: LatentStep, config: Config, device: Device) -> bool:
        rows = config.number("BLOCK_M")
        if rows > _FEWEST_ROWS and rows >= 2 * problem.query_heads * problem.query_len:
            return False
        return config.number("splits") * config.number("TILE") <= max(problem.context, config.number("TILE"))

    def lengths(self, problem: LatentStep) -> Sequence[tuple[int, int]]:
        # As many queries each as there are, and contexts between three quarters of the longest and all of it.
        each, spread = problem.tokens // problem.requests, max(1, problem.context // 4)
        return [(each, max(each, problem.context - 97 * request % spread)) for request in range(problem.requests)]

    def inputs(self, problem: LatentStep, draw: Draw) -> Inputs:
        query, key_cache, _, *others = super().inputs(problem, draw)
        return query, key_cache, key_cache[..., : problem.value_dim], *others

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (latent_attention(*inputs, schedules=schedules),)

    def work(self, problem: LatentStep) -> Work:
        written = problem.tokens * problem.query_heads * problem.value_dim * named_dtype(problem.dtype).itemsize
        return replace(super().work(problem), nbytes=super().work(replace(problem, value_dim=0)).nbytes + written)


LATENT_ATTENTION = LatentAttention()
