"""A decoder layer as its model steps it: attention, then a feed-forward, each behind a norm.

Attention comes in three parts, because a CUDA graph can hold the first and the last of any implementation, but not
always the one between them, whose work depends on lengths that change from step to step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from neokernels.paged_attention import PagedLayout
from torch import Tensor

from bench.native.models.projection import Hidden

KvCache = tuple[Tensor, Tensor]
"""Key and value cache of one layer, [blocks, block tokens, KV heads, their dim] each."""


@dataclass(frozen=True, slots=True)
class Rotary:
    """Factors of a step's positions, as `neokernels.rope_kv_write.rotary_factors` gives them: [T, rotated dim] each."""

    cos: Tensor
    sin: Tensor


@dataclass(frozen=True, slots=True)
class Norm:
    """An RMS norm behind a residual sum."""

    weight: Tensor
    eps: float
    add: Callable[[Tensor, Tensor, Tensor, float], tuple[Hidden, Tensor]]
    """Of x, residual, weight and eps: what is normalised, as those read it who read it, and the sum."""

    def __call__(self, x: Tensor, residual: Tensor) -> tuple[Hidden, Tensor]:
        return self.add(x, residual, self.weight, self.eps)


class Attention(Protocol):
    @property
    def reads_fp8(self) -> bool:
        """Whether `project` takes its rows quantised."""

    def project(self, hidden: Hidden, rotary: Rotary, cache_slots: Tensor, cache: KvCache) -> Tensor:
        """Write the keys and values of hidden [T, H] at cache_slots [T] and give the queries, [T, heads, key dim]."""

    def attend(self, query: Tensor, cache: KvCache, layout: PagedLayout) -> Tensor:
        """What each query sees of its request's context, [T, heads, value dim]."""

    def output(self, attended: Tensor) -> Tensor:
        """Back to [T, H]."""


class FeedForward(Protocol):
    @property
    def reads_fp8(self) -> bool:
        """Whether it takes its rows quantised."""

    def __call__(self, hidden: Hidden, live: Tensor | None) -> Tensor:
        """hidden [T, H] to [T, H]. live [T] bool: false for rows that only pad a step; None when there are none."""


@dataclass(frozen=True, slots=True)
class Layer:
    attention_norm: Norm
    attention: Attention
    feed_forward_norm: Norm
    feed_forward: FeedForward
