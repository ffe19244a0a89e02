"""Attention with grouped queries: what Llama, Qwen3 and gpt-oss use."""

from __future__ import annotations

from dataclasses import dataclass

from neokernels.linear import Linear
from neokernels.paged_attention import PagedLayout
from neokernels.rope_kv_write import QkNorm
from torch import Tensor

from bench.native.models.layer import KvCache, Rotary
from bench.native.models.operations import Operations
from bench.native.models.projection import Hidden, project, reads_fp8


@dataclass(frozen=True, slots=True)
class GroupedQueryAttention:
    operations: Operations
    qkv: Linear
    """Queries, keys and values stacked: they read the same input."""
    out: Linear
    qk_norm: QkNorm | None
    scale: float
    window: int | None = None
    """How many tokens back a query sees, itself included."""
    sinks: Tensor | None = None
    """[query heads]: a logit beside those of the tokens."""

    @property
    def reads_fp8(self) -> bool:
        return reads_fp8(self.qkv)

    def project(self, hidden: Hidden, rotary: Rotary, cache_slots: Tensor, cache: KvCache) -> Tensor:
        return self.operations.rope_kv_write(
            project(self.qkv, hidden), rotary.cos, rotary.sin, cache_slots, *cache, self.qk_norm
        )

    def attend(self, query: Tensor, cache: KvCache, layout: PagedLayout) -> Tensor:
        return self.operations.paged_attention(query, *cache, layout, self.scale, self.window, self.sinks)

    def output(self, attended: Tensor) -> Tensor:
        return self.out(attended.flatten(1))
