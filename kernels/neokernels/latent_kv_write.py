"""Latent attention's step from projections to cache: norm of the latent, rotary position, and both into the cache.

A token is kept as one row that all heads share: its normalised latent c, and beside it one rotated key k. With
half = R/2 and one pair (x_i, x_{i+half}) for each i < half, queries and key are rotated as `rope_kv_write` says.

Source: DeepSeek-V2 (arXiv:2405.04434) §2.1.2 and §2.1.3, where c is c^KV and k is k^R.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from neokernels.cached_rows import write_rows
from neokernels.cuda.requirements import without_kept_e4m3, without_triton
from neokernels.launcher import Launcher
from neokernels.registry import Implementation, Operation, any_of, promises_nothing, unless_asked
from neokernels.rms_norm import rms_norm_reference
from neokernels.row_tiles import in_tiles


def latent_kv_write_reference(
    query: Tensor,
    latent: Tensor,
    cos: Tensor,
    sin: Tensor,
    slots: Tensor,
    cache: Tensor,
    norm_weight: Tensor,
    eps: float,
    apply: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor] = lambda norm, rows: norm(rows),
) -> Tensor:
    """Writes the step's rows at their slots and returns the rotated queries, [T, heads, R].

    query [T, heads, R], the rotated part of each head; latent [T, C + R], the key behind the latent; cos and sin [T, R]
    from `rotary_factors`; slots [T] int64, where -1 writes nothing; cache [blocks, block tokens, 1, C + R];
    norm_weight [C]. `apply` is how the norm goes over the rows.
    """
    kept, key = latent.tensor_split([len(norm_weight)], dim=-1)
    kept = apply(partial(rms_norm_reference, weight=norm_weight, eps=eps), kept)
    heads = torch.cat((query, key[:, None]), dim=1)
    heads = heads * cos[:, None] + heads.roll(query.shape[-1] // 2, dims=-1) * sin[:, None]
    query, key = heads.tensor_split([-1], dim=1)
    write_rows(cache, slots, torch.cat((kept[:, None], key), dim=-1))
    return query


_triton: Launcher[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor] = Launcher(
    "rows.latent_kv_write", "latent_kv_write"
)

latent_kv_write: Operation[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor] = Operation(
    "latent_kv_write",
    Implementation("triton", _triton, any_of(without_triton, without_kept_e4m3)),
    Implementation("reference", latent_kv_write_reference, promises_nothing),
    Implementation("fixed_tiles", partial(latent_kv_write_reference, apply=in_tiles), unless_asked),
)
