"""From the fused projection to attention's inputs: q/k-norm, rotary position, and K and V into the paged cache.

With half = D/2, angle_i = position · frequency_i and one pair (x_i, x_{i+half}) for each i < half:

y_i = x_i cos(angle_i) − x_{i+half} sin(angle_i),  y_{i+half} = x_{i+half} cos(angle_i) + x_i sin(angle_i)

Sources: rotary embedding, Su et al. 2021 (arXiv:2104.09864) eq. 34, with the halves paired as in Llama's Hugging Face
weights; q/k-norm, an RMS norm over each head before the rotation, Qwen3 technical report (arXiv:2505.09388) §2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from neokernels.registry import Implementation, Operation
from neokernels.rms_norm import rms_norm_reference


class QkNorm(NamedTuple):
    """The RMS norm over each head that Qwen3 puts before the rotation; weights [D]."""

    query_weight: Tensor
    key_weight: Tensor
    eps: float


def rotary_factors(
    positions: Tensor, frequencies: Tensor, dtype: torch.dtype, magnitude: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Factors of y = x·cos + swap(x)·sin, where swap exchanges the halves: [T, D] each, in `dtype`.

    positions [T] int64, frequencies [D/2] float32. The sine of the first half is negated. YaRN multiplies both by its
    `magnitude`. Made once a step.
    """
    angles = positions[:, None].float() * frequencies
    cos, sin = angles.cos() * magnitude, angles.sin() * magnitude
    return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)


def rope_kv_write_reference(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    slots: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    qk_norm: QkNorm | None,
) -> Tensor:
    """Writes the step's keys and values at their slots and returns the queries, [T, query heads, D].

    qkv [T, (query heads + 2·KV heads)·D]; cos and sin [T, D] from `rotary_factors`; slots [T] int64, where -1 writes
    nothing; caches [blocks, block tokens, KV heads, D]; without `qk_norm` the heads are rotated as they are.
    """
    kv_heads, head_dim = key_cache.shape[2:]
    heads = qkv.view(len(qkv), -1, head_dim)
    rotated, value = heads.tensor_split([-kv_heads], dim=1)
    if qk_norm is not None:
        query_weight, key_weight, eps = qk_norm
        query, key = rotated.tensor_split([-kv_heads], dim=1)
        rotated = torch.cat(
            (rms_norm_reference(query, query_weight, eps), rms_norm_reference(key, key_weight, eps)), dim=1
        )
    rotated = torch.addcmul(rotated * cos[:, None], rotated.roll(head_dim // 2, dims=-1), sin[:, None])
    query, key = rotated.tensor_split([-kv_heads], dim=1)
    if int(slots.min()) < 0:
        written = slots >= 0
        slots, key, value = slots[written], key[written], value[written]
    key_cache.view(-1, kv_heads, head_dim).index_copy_(0, slots, key)
    value_cache.view(-1, kv_heads, head_dim).index_copy_(0, slots, value)
    return query


rope_kv_write = Operation("rope_kv_write", Implementation("reference", rope_kv_write_reference))
