"""Groups of weights that share a scale, and the largest magnitude of each, which the scale is made of."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

SMALLEST_SCALE = torch.finfo(torch.float32).tiny
"""Scales are not taken below the smallest normal float32; what it cannot reach becomes zero."""


class NotFiniteError(ValueError):
    """A weight holds NaN or an infinity, which no scale of its neighbours represents."""


def largest_magnitude(weight: Tensor) -> Tensor:
    """max |w| over the last dimension, float32, that dimension kept. Raises NotFiniteError."""
    largest = weight.abs().amax(-1, keepdim=True).float()
    if not bool(largest.isfinite().all()):
        raise NotFiniteError("a weight is NaN or infinite")
    return largest


def in_blocks(weight: Tensor, block: int) -> Tensor:
    """weight [..., K] as [..., ⌈K/block⌉, block], filled up with zeros."""
    filled = pad(weight, (0, -weight.shape[-1] % block))
    return filled.reshape(*filled.shape[:-1], filled.shape[-1] // block, block)
