"""Weights in MXFP4: 4-bit elements in blocks of 32 along the input, each block with a power of two as its scale.

X = 2^(⌊log₂ max |w|⌋ − 2),  p_i = e2m1(w_i / X),  w_i ≈ X · p_i

2 is the exponent of the largest e2m1 (6 = 1.5 · 2²); what a block's largest exceeds 6X by is cut off. X is kept as
e8m0: its exponent + 127. A block of zeros, which the specification leaves open, has the smallest X. Source: OCP
Microscaling Formats (MX) Specification v1.0 (2023) §5.3.3, §5.4.1 and §6.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neokernels.formats import e2m1
from neokernels.formats.magnitude import in_blocks, largest_magnitude

BLOCK = 32
_SMALLEST_EXPONENT = -127
_ELEMENT_EXPONENT = 2


@dataclass(frozen=True, slots=True)
class Mxfp4Weight:
    codes: Tensor
    """[..., N, B · 16] uint8: B = ⌈K/32⌉ blocks of two elements a byte, the last filled with zeros."""
    scales: Tensor
    """[..., N, B] float8_e8m0fnu."""
    columns: int
    """K."""

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes


def quantise(weight: Tensor) -> Mxfp4Weight:
    """weight [..., N, K] of any floating dtype. Raises NotFiniteError."""
    columns = weight.shape[-1]
    blocks = in_blocks(weight, BLOCK)
    # frexp gives m · 2^e with m in [½, 1): exact where a logarithm would round up to the next power.
    exponent = largest_magnitude(blocks).frexp().exponent - 1 - _ELEMENT_EXPONENT
    exponent.clamp_min_(_SMALLEST_EXPONENT)
    scales = _power_of_two(exponent.squeeze(-1)).to(torch.float8_e8m0fnu)
    return Mxfp4Weight(e2m1.pack(blocks * _power_of_two(-exponent)).flatten(-2), scales, columns)


def dequantise(weight: Mxfp4Weight, dtype: torch.dtype) -> Tensor:
    """[..., N, K] in `dtype`."""
    # float16 has not the exponents of X; in the others the product is exact.
    wide = torch.float32 if dtype == torch.float16 else dtype
    blocks = in_blocks(e2m1.unpack(weight.codes, wide), BLOCK)
    return (blocks * weight.scales.float().to(wide)[..., None]).to(dtype).flatten(-2)[..., : weight.columns]


def _power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent, float32, for −127..127. float32's own exp2 may miss the last bit, and the smallest is subnormal."""
    return torch.exp2(exponent.double()).float()
