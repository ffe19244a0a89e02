"""Weights in NVFP4: 4-bit elements in blocks of 16 along the input, with an e4m3 scale each and one for the tensor.

S = max |w| / (448 · 6),  s_b = e4m3(max_b |w| / 6 / S),  p_i = e2m1(w_i / (s_b · S)),  w_i ≈ S · s_b · p_i

448 and 6 are the largest e4m3 and e2m1, so that S brings every s_b into range. A block whose largest lies below about
2⁻¹⁰/448 of the tensor's has s_b = 0 and becomes zero. Source: NVIDIA 2025, "Pretraining Large Language Models with
NVFP4" (arXiv:2509.25149), appendix on the quantisation procedure.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neokernels.formats import e2m1, fp8
from neokernels.formats.magnitude import SMALLEST_SCALE, in_blocks, largest_magnitude

BLOCK = 16


@dataclass(frozen=True, slots=True)
class Nvfp4Weight:
    codes: Tensor
    """[..., N, B · 8] uint8: B = ⌈K/16⌉ blocks of two elements a byte, the last filled with zeros."""
    scales: Tensor
    """[..., N, B] float8_e4m3fn."""
    tensor_scale: Tensor
    """[..., 1, 1] float32: one for each matrix."""
    columns: int
    """K."""

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes + self.tensor_scale.nbytes


def quantise(weight: Tensor) -> Nvfp4Weight:
    """weight [..., N, K] of any floating dtype. Raises NotFiniteError."""
    columns = weight.shape[-1]
    blocks = in_blocks(weight, BLOCK)
    largest = largest_magnitude(blocks).squeeze(-1)
    tensor_scale = (largest.amax((-2, -1), keepdim=True) / (fp8.LARGEST * e2m1.LARGEST)).clamp_min(SMALLEST_SCALE)
    scales = fp8.saturated(largest / e2m1.LARGEST / tensor_scale)
    steps = (scales.float() * tensor_scale)[..., None]
    elements = torch.where(steps == 0, 0.0, blocks / steps)
    return Nvfp4Weight(e2m1.pack(elements).flatten(-2), scales, tensor_scale, columns)


def dequantise(weight: Nvfp4Weight, dtype: torch.dtype) -> Tensor:
    """[..., N, K] in `dtype`."""
    steps = weight.scales.float() * weight.tensor_scale
    blocks = in_blocks(e2m1.unpack(weight.codes, torch.float32), BLOCK)
    return (blocks * steps[..., None]).to(dtype).flatten(-2)[..., : weight.columns]
