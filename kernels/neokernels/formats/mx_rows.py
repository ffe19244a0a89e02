"""Activations in MXFP8 or MXFP4: tokens in blocks of 32, each block with a power of two as its scale.

X = 2^(⌊log₂ max |x|⌋ − e),  p_i = element(x_i / X),  x_i ≈ X · p_i

e is the exponent of the largest element, 8 for e4m3 (448 = 1.75 · 2⁸) and 2 for e2m1 (6 = 1.5 · 2²); what lies beyond
the largest element is cut off. A block that is not finite has NaN as its scale, so that only its token's request fails.
Source: OCP Microscaling Formats (MX) Specification v1.0 (2023) §5.2, §5.3 and §6.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from neokernels.formats import e2m1, fp8
from neokernels.formats.magnitude import in_blocks
from neokernels.formats.mxfp4 import BLOCK

Element = Literal["e4m3", "e2m1"]
LARGEST_EXPONENT: dict[Element, int] = {"e4m3": 8, "e2m1": 2}
_BIAS = 127
_NAN = 255


@dataclass(frozen=True, slots=True)
class MxRows:
    values: Tensor
    """[T, B · 32] float8_e4m3fn, or [T, B · 16] uint8 of two e2m1 each: B = ⌈K/32⌉ blocks, zeros beyond K."""
    scales: Tensor
    """[T, B] uint8: the bits of e8m0."""
    columns: int
    """K."""

    @property
    def element(self) -> Element:
        return "e2m1" if self.values.dtype == torch.uint8 else "e4m3"


def quantise_activations(x: Tensor, element: Element) -> MxRows:
    """x [T, K] of any floating dtype."""
    blocks = in_blocks(x.float(), BLOCK)
    largest = blocks.abs().amax(-1)
    # The exponent as float32 keeps it, that of subnormals taken for the smallest; infinity and NaN have 255.
    kept = (largest.view(torch.int32) >> 23) - LARGEST_EXPONENT[element]
    scales = torch.where(largest.isfinite(), kept.clamp_min(0), _NAN)
    elements = (blocks * torch.exp2(_BIAS - scales.double())[..., None]).float().flatten(-2)
    values = e2m1.pack(elements) if element == "e2m1" else fp8.saturated(elements)
    return MxRows(values, scales.to(torch.uint8), x.shape[-1])


def dequantise_activations(rows: MxRows, dtype: torch.dtype) -> Tensor:
    """[T, K] in `dtype`, rounded once."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    values = e2m1.unpack(rows.values, wide) if rows.element == "e2m1" else fp8.widened(rows.values, wide)
    scales = torch.exp2(rows.scales.double() - _BIAS).masked_fill(rows.scales == _NAN, torch.nan).to(wide)
    return (in_blocks(values, BLOCK) * scales[..., None]).to(dtype).flatten(-2)[:, : rows.columns]
