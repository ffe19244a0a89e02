"""Weights as DeepSeek-V3 stores them: e4m3 in tiles of 128 × 128, each with a float32 to multiply it by.

w_nk = s_⌊n/128⌋⌊k/128⌋ · q_nk

Tiles at the lower and right edge are cut off where the matrix ends. Source: DeepSeek-V3 (arXiv:2412.19437) §3.3.2; its
checkpoints call s `weight_scale_inv`. They are only ever read, so there is no way here to make one.
"""

from __future__ import annotations

import torch
from torch import Tensor

TILE = 128


def scales_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of s for a weight of `shape`."""
    return tuple(-(-size // TILE) for size in shape)


def dequantise(values: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """values [N, K] float8_e4m3fn, scales of `scales_shape` float32; returns [N, K] in `dtype`."""
    for dim, size in enumerate(values.shape):
        scales = scales.repeat_interleave(TILE, dim).narrow(dim, 0, size)
    return (scales * values.float()).to(dtype)
