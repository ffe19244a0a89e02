"""A decoder layer as its model steps it: attention, then a feed-forward, each behind a norm.

Attention comes in three parts, because a CUDA graph can hold the first and the last of any implementation, but not
always the one between them, whose work depends on lengths that change from step to step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from neokernels.paged_attention import PagedLayout
from torch import Tensor

KvCache = tuple[Tensor, Tensor]
"""Key and value cache of one layer, [blocks, block tokens, KV heads, their dim] each."""


@dataclass(frozen=True, slots=True)
class Rotary:
    """Factors of a step's positions, as `neokernels.rope_kv_write.rotary_factors` gives them: [T, rotated dim] each."""

    cos: Tensor
    sin: Tensor


class Attention(Protocol):
    def project(self, hidden: Tensor, rotary: Rotary, cache_slots: Tensor, cache: KvCache) -> Tensor:
        """Write the keys and values of hidden [T, H] at cache_slots [T] and give the queries, [T, heads, key dim]."""

    def attend(self, query: Tensor, cache: KvCache, layout: PagedLayout) -> Tensor:
        """What each query sees of its request's context, [T, heads, value dim]."""

    def output(self, attended: Tensor) -> Tensor:
        """Back to [T, H]."""


class FeedForward(Protocol):
    def __call__(self, hidden: Tensor, live: Tensor | None) -> Tensor:
        """hidden [T, H] to [T, H]. live [T] bool: false for rows that only pad a step; None when there are none."""


@dataclass(frozen=True, slots=True)
class Layer:
    attention_norm: Tensor
    attention: Attention
    feed_forward_norm: Tensor
    feed_forward: FeedForward
