"""Multi-head latent attention, with what projects a head's keys and values out of the latent folded into the rest.

A head's key is W^UK c and its value W^UV c of the token's latent c. Since q · (W^UK c) = (W^UKᵀ q) · c, and a weighted
sum of W^UV c is W^UV of the weighted sum, queries go into the latent's space and what they attend to comes out of it;
the cache is read as one key-value head and no key or value is ever made. Source: DeepSeek-V2 (arXiv:2405.04434) §2.1.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from neokernels.head_linear import HeadLinear
from neokernels.linear import Linear
from neokernels.paged_attention import PagedLayout
from torch import Tensor

from bench.native.model_config import LatentConfig
from bench.native.models.layer import KvCache, Rotary
from bench.native.models.operations import Operations
from bench.native.models.projection import Hidden, project, reads_fp8

_EPS = 1e-6
"""Of the norms within the attention: the models are written with it, whatever their config says of the others."""


@dataclass(frozen=True, slots=True)
class QueryFromRank:
    """The second half of a query projection that goes through fewer dimensions."""

    operations: Operations
    norm: Tensor
    up: Linear

    def __call__(self, x: Tensor) -> Tensor:
        return self.up(self.operations.rms_norm(x.contiguous(), self.norm, _EPS))


@dataclass(frozen=True, slots=True)
class LatentAttention:
    operations: Operations
    write: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]
    """As `neokernels.latent_kv_write` says."""
    config: LatentConfig
    down: Linear
    """Queries, or what they come from, and the latent with its key stacked: they read the same input."""
    query: QueryFromRank | None
    """None where `down` gives the queries themselves."""
    latent_norm: Tensor
    into_latent: HeadLinear
    """W^UKᵀ of each head."""
    from_latent: HeadLinear
    """W^UV of each head."""
    out: Linear
    scale: float

    @property
    def reads_fp8(self) -> bool:
        return reads_fp8(self.down)

    def project(self, hidden: Hidden, rotary: Rotary, cache_slots: Tensor, cache: KvCache) -> Tensor:
        query, latent = project(self.down, hidden).tensor_split([-self.config.cached_dim], dim=-1)
        if self.query is not None:
            query = self.query(query)
        heads = query.view(len(query), -1, self.config.query_dim)
        plain, turning = heads.tensor_split([self.config.plain_dim], dim=-1)
        turned = self.write(turning, latent, rotary.cos, rotary.sin, cache_slots, cache[0], self.latent_norm, _EPS)
        return torch.cat((self.into_latent(plain), turned), dim=-1)

    def attend(self, query: Tensor, cache: KvCache, layout: PagedLayout) -> Tensor:
        return self.operations.paged_attention(query, *cache, layout, self.scale, None, None)

    def output(self, attended: Tensor) -> Tensor:
        return self.out(self.from_latent(attended).flatten(1))
