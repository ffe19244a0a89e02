"""NVFP4: 4-bit elements in blocks of 16 along the input, with an e4m3 scale each and one for the tensor.

S = max |w| / (448 · 6),  s_b = e4m3(max_b |w| / 6 / S),  p_i = e2m1(w_i / (s_b · S)),  w_i ≈ S · s_b · p_i

448 and 6 are the largest e4m3 and e2m1, so that S brings every s_b into range. A block whose largest lies below about
2⁻¹⁰/448 of the tensor's has s_b = 0 and becomes zero. Source: NVIDIA 2025, "Pretraining Large Language Models with
NVFP4" (arXiv:2509.25149), appendix on the quantisation procedure.

A matrix of weights is one tensor. Of activations each token is: its S is known when its row is, depends on no other
token, and follows the product like that of `fp8`; one S for a step would need all of it first, or a calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neokernels.formats import e2m1, fp8
from neokernels.formats.magnitude import SMALLEST_SCALE, in_blocks, largest_magnitude

BLOCK = 16
SMALLEST_ROW_SCALE = 2.0**-100
"""S of a token is not taken below this, so that what a step of its elements divides by stays finite."""


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


@dataclass(frozen=True, slots=True)
class Nvfp4Rows:
    """Tokens of an activation, a tensor each."""

    codes: Tensor
    """[T, B · 8] uint8: B = ⌈K/16⌉ blocks of two elements a byte, the last filled with zeros."""
    scales: Tensor
    """[T, B] float8_e4m3fn."""
    row_scales: Tensor
    """[T, 1] float32."""
    columns: int
    """K."""

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes + self.row_scales.nbytes


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


def quantise_activations(x: Tensor) -> Nvfp4Rows:
    """x [T, K] of any floating dtype; a row that is not finite becomes NaN, so that only its request fails."""
    blocks = in_blocks(x.float(), BLOCK)
    largest = blocks.abs().amax(-1)
    row_scales = (largest.amax(-1, keepdim=True) / (fp8.LARGEST * e2m1.LARGEST)).clamp_min(SMALLEST_ROW_SCALE)
    scales = fp8.saturated(largest / e2m1.LARGEST / row_scales)
    steps = scales.float() * row_scales
    # One reciprocal a block in the place of sixteen quotients: it moves an element that lies within a bit of a tie.
    per_step = torch.where(steps == 0, 0.0, steps.reciprocal())
    return Nvfp4Rows(e2m1.pack(blocks * per_step[..., None]).flatten(-2), scales, row_scales, x.shape[-1])


def dequantise(weight: Nvfp4Weight, dtype: torch.dtype) -> Tensor:
    """[..., N, K] in `dtype`."""
    return _widened(weight.codes, weight.scales.float() * weight.tensor_scale, weight.columns, dtype)


def dequantise_activations(rows: Nvfp4Rows, dtype: torch.dtype) -> Tensor:
    """[T, K] in `dtype`."""
    return _widened(rows.codes, rows.scales.float() * rows.row_scales, rows.columns, dtype)


def _widened(codes: Tensor, steps: Tensor, columns: int, dtype: torch.dtype) -> Tensor:
    """Elements times the step of their block."""
    blocks = in_blocks(e2m1.unpack(codes, torch.float32), BLOCK)
    return (blocks * steps[..., None]).to(dtype).flatten(-2)[..., :columns]
