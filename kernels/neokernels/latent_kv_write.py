"""Latent attention's step from projections to cache: norm of the latent, rotary position, and both into the cache.

A token is kept as one row that all heads share: its normalised latent c, and beside it one rotated key k. With
half = R/2 and one pair (x_i, x_{i+half}) for each i < half, queries and key are rotated as `rope_kv_write` says.

Source: DeepSeek-V2 (arXiv:2405.04434) §2.1.2 and §2.1.3, where c is c^KV and k is k^R.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neokernels.registry import Implementation, Operation
from neokernels.rms_norm import rms_norm_reference


def latent_kv_write_reference(
    query: Tensor,
    latent: Tensor,
    cos: Tensor,
    sin: Tensor,
    slots: Tensor,
    cache: Tensor,
    norm_weight: Tensor,
    eps: float,
) -> Tensor:
    """Writes the step's rows at their slots and returns the rotated queries, [T, heads, R].

    query [T, heads, R], the rotated part of each head; latent [T, C + R], the key behind the latent; cos and sin [T, R]
    from `rotary_factors`; slots [T] int64, where -1 writes nothing; cache [blocks, block tokens, 1, C + R];
    norm_weight [C].
    """
    kept, key = latent.tensor_split([len(norm_weight)], dim=-1)
    heads = torch.cat((query, key[:, None]), dim=1)
    rotated = torch.addcmul(heads * cos[:, None], heads.roll(query.shape[-1] // 2, dims=-1), sin[:, None])
    query, key = rotated[:, :-1], rotated[:, -1]
    row = torch.cat((rms_norm_reference(kept, norm_weight, eps), key), dim=-1).to(cache.dtype)
    if int(slots.min()) < 0:
        written = slots >= 0
        slots, row = slots[written], row[written]
    cache.view(-1, cache.shape[-1]).index_copy_(0, slots, row)
    return query


latent_kv_write = Operation("latent_kv_write", Implementation("reference", latent_kv_write_reference, graphs="never"))
