"""Weights as DeepSeek-V3 stores them: e4m3 in tiles of 128 × 128, each with a float32 to multiply it by.

w_nk = s_⌊n/128⌋⌊k/128⌋ · q_nk

Tiles at the lower and right edge are cut off where the matrix ends. Source: DeepSeek-V3 (arXiv:2412.19437) §3.3.2; its
checkpoints call s `weight_scale_inv`. They are only ever read, so there is no way here to make one. What they are
multiplied with is quantised in groups of 128 numbers of a token, otherwise as rows are in `fp8`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neokernels.formats import fp8
from neokernels.formats.magnitude import in_blocks

TILE = 128


@dataclass(frozen=True, slots=True)
class Fp8Groups:
    values: Tensor
    """[T, K] float8_e4m3fn."""
    scales: Tensor
    """[T, ⌈K/128⌉] float32. Those of a group's tokens lie side by side, as a tile of tokens needs them."""


def scales_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of s for a weight of `shape`."""
    return tuple(-(-size // TILE) for size in shape)


def dequantise(values: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """values [N, K] float8_e4m3fn, scales of `scales_shape` float32; returns [N, K] in `dtype`."""
    for dim, size in enumerate(values.shape):
        scales = scales.repeat_interleave(TILE, dim).narrow(dim, 0, size)
    return (scales * values.float()).to(dtype)


def quantise_activations(x: Tensor) -> Fp8Groups:
    """x [T, K]: a group that is not finite becomes NaN."""
    groups = fp8.quantise_activations(in_blocks(x, TILE))
    return Fp8Groups(groups.values.flatten(1)[:, : x.shape[1]], groups.scales.squeeze(-1).t().contiguous().t())


def dequantise_activations(groups: Fp8Groups, dtype: torch.dtype) -> Tensor:
    """[T, K] in `dtype`."""
    values = groups.values
    scales = groups.scales.repeat_interleave(TILE, 1)[:, : values.shape[1]]
    return (scales * fp8.widened(values, torch.float32)).to(dtype)
