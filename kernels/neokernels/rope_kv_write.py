"""From the fused projection to attention's inputs: q/k-norm, rotary position, and K and V into the paged cache.

With half = D/2, angle_i = position · frequency_i and one pair (x_i, x_{i+half}) for each i < half:

y_i = x_i cos(angle_i) − x_{i+half} sin(angle_i),  y_{i+half} = x_{i+half} cos(angle_i) + x_i sin(angle_i)

Sources: rotary embedding, Su et al. 2021 (arXiv:2104.09864) eq. 34, with the halves paired as in Llama's Hugging Face
weights; q/k-norm, an RMS norm over each head before the rotation, Qwen3 technical report (arXiv:2505.09388) §2.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from neokernels.cached_rows import write_rows
from neokernels.cpu import library, rows
from neokernels.cuda.requirements import without_kept_e4m3, without_triton
from neokernels.launcher import Launcher
from neokernels.registry import Implementation, Operation, any_of, promises_nothing, unless_asked
from neokernels.rms_norm import rms_norm_reference
from neokernels.row_tiles import in_tiles, one_by_one


class QkNorm(NamedTuple):
    """The RMS norm over each head that Qwen3 puts before the rotation; weights [D]."""

    query_weight: Tensor
    key_weight: Tensor
    eps: float


def rotary_factors_reference(
    positions: Tensor, frequencies: Tensor, dtype: torch.dtype, magnitude: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Factors of y = x·cos + swap(x)·sin, where swap exchanges the halves: [T, D] each, in `dtype`.

    positions [T] int64, frequencies [D/2] float32. The sine of the first half is negated. YaRN multiplies both by its
    `magnitude`. Made once a step.
    """
    angles = positions[:, None].float() * frequencies
    cos, sin = angles.cos() * magnitude, angles.sin() * magnitude
    return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)


def rotary_factors_one_by_one(
    positions: Tensor, frequencies: Tensor, dtype: torch.dtype, magnitude: float = 1.0
) -> tuple[Tensor, Tensor]:
    """As `rotary_factors_reference`, batch-invariant."""

    def side_by_side(row: Tensor) -> Tensor:
        return torch.cat(rotary_factors_reference(row, frequencies, dtype, magnitude), -1)

    cos, sin = one_by_one(side_by_side, positions).chunk(2, dim=-1)
    return cos.contiguous(), sin.contiguous()


rotary_factors = Operation(
    "rotary_factors",
    Implementation("triton", Launcher("rows.rotary_factors", "rotary_factors"), without_triton),
    Implementation("reference", rotary_factors_reference, promises_nothing),
    Implementation("one_by_one", rotary_factors_one_by_one, unless_asked),
)


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
    rotated, value = qkv.view(len(qkv), -1, head_dim).tensor_split([-kv_heads], dim=1)
    return _write(_rotated(rotated, cos, sin, kv_heads, qk_norm), value, slots, key_cache, value_cache)


def rope_kv_write_in_tiles(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    slots: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    qk_norm: QkNorm | None,
) -> Tensor:
    """As `rope_kv_write_reference`, batch-invariant."""
    kv_heads, head_dim = key_cache.shape[2:]
    heads, value = qkv.view(len(qkv), -1, head_dim).tensor_split([-kv_heads], dim=1)
    rotated = in_tiles(partial(_rotated, kv_heads=kv_heads, qk_norm=qk_norm), heads, cos, sin)
    return _write(rotated, value, slots, key_cache, value_cache)


def _rotated(heads: Tensor, cos: Tensor, sin: Tensor, kv_heads: int, qk_norm: QkNorm | None) -> Tensor:
    """heads [T, query and KV heads, D], with their norm if there is one and rotated."""
    if qk_norm is not None:
        query_weight, key_weight, eps = qk_norm
        query, key = heads.tensor_split([-kv_heads], dim=1)
        heads = torch.cat(
            (rms_norm_reference(query, query_weight, eps), rms_norm_reference(key, key_weight, eps)), dim=1
        )
    return heads * cos[:, None] + heads.roll(heads.shape[-1] // 2, dims=-1) * sin[:, None]


def _write(rotated: Tensor, value: Tensor, slots: Tensor, key_cache: Tensor, value_cache: Tensor) -> Tensor:
    """Keys and values into the cache; returns the queries."""
    query, key = rotated.tensor_split([-value.shape[1]], dim=1)
    write_rows(key_cache, slots, key)
    write_rows(value_cache, slots, value)
    return query


rope_kv_write = Operation(
    "rope_kv_write",
    Implementation("cpu", rows.rope_kv_write, library.refuses_cache, source="c"),
    Implementation(
        "triton", Launcher("rows.rope_kv_write", "rope_kv_write"), any_of(without_triton, without_kept_e4m3)
    ),
    Implementation("reference", rope_kv_write_reference, promises_nothing),
    Implementation("fixed_tiles", rope_kv_write_in_tiles, unless_asked),
)
