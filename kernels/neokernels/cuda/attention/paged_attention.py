"""Which of the kernels answers a step of paged attention: as far as the host's bounds tell, and nothing else."""

from __future__ import annotations

from torch import Tensor

from neokernels.cuda.attention.latent_attention import latent_attention, reads_latents
from neokernels.cuda.attention.paged_decode import attend_few
from neokernels.cuda.attention.paged_prefill import attend_any
from neokernels.paged_attention import PagedLayout
from neokernels.tuning.schedules import Schedules

_FEW_QUERIES = 8
_FEW_ROWS = 128
"""Queries and query heads of one KV head: beyond, splitting contexts is not what a step needs."""


def paged_attention(
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
    """As `neokernels.paged_attention.paged_attention_reference`, of latents or of keys of at most 256 numbers."""
    if len(query) == 0:
        return query.new_empty((*query.shape[:2], value_cache.shape[-1]))
    if reads_latents(key_cache, value_cache):
        return latent_attention(query, key_cache, value_cache, layout, scale, window, sinks, schedules=schedules)
    rows = layout.longest_query * query.shape[1] // key_cache.shape[2]
    few = layout.longest_query <= _FEW_QUERIES and rows <= _FEW_ROWS
    # A token is one of few queries in one step and in a prompt in another: only one kernel gives it the same bits.
    attend = attend_few if few and not schedules.batch_invariant else attend_any
    return attend(query, key_cache, value_cache, layout, scale, window, sinks, schedules=schedules)
