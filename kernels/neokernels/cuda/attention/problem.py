"""What the kernels of paged attention have in common as things to tune: their inputs, references and costs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Self, TypeVar

import torch
import triton
from torch import Tensor

from neokernels.paged_attention import DeviceLengths, PagedLayout, paged_attention_reference
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.space import Inputs, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype


@dataclass(frozen=True, kw_only=True)
class AttentionProblem(Problem):
    """Attention of one layer; what a step adds stands in its subclasses."""

    query_heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    block_tokens: int
    window: int = 0
    """0: none."""
    sinks: bool = False
    dtype: str = "bfloat16"
    kv_dtype: str = "bfloat16"

    @property
    def group(self) -> int:
        """Query heads of a KV head."""
        return self.query_heads // self.kv_heads

    @classmethod
    def of(
        cls,
        query: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        block_tokens: int,
        window: int | None,
        sinks: Tensor | None,
        **step: int,
    ) -> Self:
        """That of a call whose `step` is known."""
        return cls(
            query_heads=query.shape[1],
            kv_heads=key_cache.shape[2],
            key_dim=key_cache.shape[3],
            value_dim=value_cache.shape[3],
            block_tokens=block_tokens,
            window=window or 0,
            sinks=sinks is not None,
            dtype=dtype_name(query.dtype),
            kv_dtype=dtype_name(key_cache.dtype),
            **step,
        )

    @classmethod
    def of_model(cls, model: ModelShape, window: int | None, **step: int) -> Self:
        """That of a model's layers with `window`."""
        return cls(
            query_heads=model.query_heads,
            kv_heads=model.kv_heads,
            key_dim=model.head_dim,
            value_dim=model.head_dim,
            block_tokens=model.block_tokens,
            window=window or 0,
            sinks=model.sinks,
            dtype=model.dtype,
            kv_dtype=model.kv_dtype,
            **step,
        )


A = TypeVar("A", bound=AttentionProblem)


class AttentionKernel(TunableKernel[A]):
    """Inputs are the arguments of `paged_attention_reference`."""

    @abstractmethod
    def lengths(self, problem: A) -> Sequence[tuple[int, int]]:
        """(query tokens, context tokens) of each request."""

    def inputs(self, problem: A, draw: Draw) -> Inputs:
        lengths = self.lengths(problem)
        blocks = [triton.cdiv(context_len, problem.block_tokens) for _, context_len in lengths]
        ends = list(accumulate(blocks, initial=0))
        starts = list(accumulate((query_len for query_len, _ in lengths), initial=0))
        # One block more than contexts have: what fills up the tables, and is not read.
        pages = draw.permutation(ends[-1] + 1, dtype=torch.int32)
        tables = pages[-1].expand(len(lengths), max(blocks, default=0)).clone()
        for row, (first, end) in zip(tables, pairwise(ends), strict=True):
            row[: end - first] = pages[first:end]
        kv_dtype, dtype = named_dtype(problem.kv_dtype), named_dtype(problem.dtype)
        slots = (len(pages), problem.block_tokens, problem.kv_heads)
        return (
            draw.normal(starts[-1], problem.query_heads, problem.key_dim, dtype=dtype),
            draw.normal(*slots, problem.key_dim, dtype=kv_dtype),
            draw.normal(*slots, problem.value_dim, dtype=kv_dtype),
            PagedLayout(
                tuple(query_len for query_len, _ in lengths),
                tuple(context_len for _, context_len in lengths),
                tables,
                problem.block_tokens,
                DeviceLengths(
                    draw.constant(starts, torch.int32),
                    draw.constant([context_len for _, context_len in lengths], torch.int32),
                ),
            ),
            problem.key_dim**-0.5,
            problem.window or None,
            draw.normal(problem.query_heads, dtype=dtype) if problem.sinks else None,
        )

    def reference(self, inputs: Inputs) -> Outputs:
        return (paged_attention_reference(*inputs),)

    def exact(self, inputs: Inputs) -> Outputs:
        query, key_cache, value_cache, layout, scale, window, sinks = inputs
        out = query.new_empty((*query.shape[:2], value_cache.shape[-1]), dtype=torch.float64)
        row = 0
        for request, (query_len, context_len) in enumerate(zip(layout.query_lens, layout.context_lens, strict=True)):
            rows = slice(row, row + query_len)
            keys, values = (_context(cache, layout, request, context_len) for cache in (key_cache, value_cache))
            out[rows] = _attended(query[rows].double(), keys, values, scale, window, sinks)
            row += query_len
        return (out,)

    def work(self, problem: A) -> Work:
        dims, lengths = problem.key_dim + problem.value_dim, self.lengths(problem)
        kept = sum(_seen(*one, problem.window) for one in lengths) * problem.kv_heads
        rows = sum(query_len for query_len, _ in lengths) * problem.query_heads
        pairs = sum(_pairs(*one, problem.window) for one in lengths) * problem.query_heads
        nbytes = dims * (kept * named_dtype(problem.kv_dtype).itemsize + rows * named_dtype(problem.dtype).itemsize)
        return Work(nbytes, flops=2 * dims * pairs, flops_dtype=problem.dtype)


def _context(cache: Tensor, layout: PagedLayout, request: int, context_len: int) -> Tensor:
    """[KV heads, tokens, D] float64 of one request."""
    blocks = layout.block_tables[request, : triton.cdiv(context_len, layout.block_tokens)].long()
    # Indices reach no numbers of eight bits.
    rows = cache.view(torch.uint8).index_select(0, blocks).view(cache.dtype)
    return rows.flatten(0, 1)[:context_len].double().transpose(0, 1)


def _attended(
    query: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None, sinks: Tensor | None
) -> Tensor:
    """query [n, query heads, D]; keys and values [KV heads, tokens, D]."""
    group, last = query.shape[1] // len(keys), keys.shape[1]
    keys, values = keys.repeat_interleave(group, 0), values.repeat_interleave(group, 0)
    device = query.device
    distance = torch.arange(last - len(query), last, device=device)[:, None] - torch.arange(last, device=device)
    seen = (distance >= 0) & (distance < (window or last))
    logits = (query.transpose(0, 1) @ keys.transpose(1, 2) * scale).masked_fill(~seen, -torch.inf)
    if sinks is not None:
        logits = torch.cat((logits, sinks.double()[:, None, None].expand(-1, len(query), 1)), -1)
    return (logits.softmax(-1)[..., :last] @ values).transpose(0, 1)


def _seen(query_len: int, context_len: int, window: int) -> int:
    """Tokens that some query sees."""
    return min(context_len, window + query_len - 1) if window and query_len else context_len * (query_len > 0)


def _pairs(query_len: int, context_len: int, window: int) -> int:
    """Of a query and a token it sees."""
    most = window or context_len
    return sum(min(position + 1, most) for position in range(context_len - query_len, context_len))


def batches(model: ModelShape) -> Iterator[tuple[int, int | None]]:
    """Requests of a decode step and a window, each pair once."""
    return ((requests, window) for window in model.windows for requests in model.decode_batches)
