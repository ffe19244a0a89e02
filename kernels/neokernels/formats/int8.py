"""Weights in 8-bit integers, symmetric, with one scale for each output channel.

s_n = max_k |w_nk| / 127,  q_nk = round(w_nk / s_n),  w_nk ≈ s_n · q_nk

with ties to even. |w − s·q| is at most s/2. A row of zeros has scale 1. Source: Jacob et al. 2018 (arXiv:1712.05877)
§2.1 with the zero point at 0; a scale for each channel, Krishnamoorthi 2018 (arXiv:1806.08342).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neokernels.formats.magnitude import SMALLEST_SCALE, largest_magnitude

_LARGEST = 127


@dataclass(frozen=True, slots=True)
class Int8Weight:
    codes: Tensor
    """[..., N, K] int8, −127..127."""
    scales: Tensor
    """[..., N, 1] float32."""

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes


def quantise(weight: Tensor) -> Int8Weight:
    """weight [..., N, K] of any floating dtype. Raises NotFiniteError."""
    largest = largest_magnitude(weight)
    scales = torch.where(largest == 0, 1.0, (largest / _LARGEST).clamp_min(SMALLEST_SCALE))
    return Int8Weight((weight / scales).round_().to(torch.int8), scales)


def dequantise(weight: Int8Weight, dtype: torch.dtype) -> Tensor:
    """[..., N, K] in `dtype`."""
    return (weight.codes * weight.scales).to(dtype)
