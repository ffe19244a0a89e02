"""Rows of 8-bit floating point (e4m3) with one scale each: output channels of a weight, tokens of an activation.

s = max_k |x_k| / 448,  q_k = e4m3(x_k / s),  x_k ≈ s · q_k

448 is the largest e4m3. Rounding is to nearest, ties to even: |x − s·q| is at most 2⁻⁴·|x| where |x| is at least s·2⁻⁶,
and s·2⁻¹⁰ below. A row of zeros has scale 1; a row that holds NaN or an infinity is NaN throughout. Source:
Micikevicius et al. 2022 (arXiv:2209.05433) §3, whose e4m3 has no infinity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neokernels.formats.magnitude import SMALLEST_SCALE, largest_magnitude

E4M3 = torch.float8_e4m3fn
LARGEST = 448.0


@dataclass(frozen=True, slots=True)
class Fp8Rows:
    values: Tensor
    """[..., N, K] float8_e4m3fn."""
    scales: Tensor
    """[..., N, 1] float32."""

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.scales.nbytes


def quantise(weight: Tensor) -> Fp8Rows:
    """weight [..., N, K] of any floating dtype. Raises NotFiniteError."""
    scales = _scales(largest_magnitude(weight))
    return Fp8Rows(saturated(weight / scales), scales)


def quantise_activations(x: Tensor) -> Fp8Rows:
    """x [T, K]: as `quantise`, but a row that is not finite becomes NaN, so that only its request fails.

    What a step does to every token multiplies by 1/s, which only moves a number that lies within a bit of a tie.
    """
    scales = _scales(x.abs().amax(-1, keepdim=True).float())
    return Fp8Rows(saturated(x * scales.reciprocal()), scales)


def dequantise(rows: Fp8Rows, dtype: torch.dtype) -> Tensor:
    """[..., N, K] in `dtype`."""
    return (widened(rows.values, torch.float32) * rows.scales).to(dtype)


def widened(values: Tensor, dtype: torch.dtype) -> Tensor:
    """values float8_e4m3fn in `dtype`, exactly."""
    if values.device.type != "cpu":
        return values.to(dtype)
    # On a CPU torch converts number by number. Moved by four bits, e4m3 is a bfloat16 that is 2¹²⁰ times too small.
    bits = values.view(torch.int8).to(torch.int16)
    magnitude = bits & 0x7F
    wide = (magnitude << 4 | bits & -0x8000).view(torch.bfloat16) * 2.0**120
    return wide.masked_fill_(magnitude == 0x7F, torch.nan).to(dtype)


def saturated(x: Tensor) -> Tensor:
    """x as e4m3 with scale 1: beyond ±448 it is ±448; NaN stays NaN."""
    return x.clamp(-LARGEST, LARGEST).to(E4M3)


def _scales(largest: Tensor) -> Tensor:
    return torch.where(largest == 0, 1.0, (largest / LARGEST).clamp_min(SMALLEST_SCALE))
