"""Rows that a program holds in registers, quantised as they are stored: the epilogue of kernels that have whole rows.

What is stored is bit for bit what `formats.fp8` and `formats.nvfp4` make of the rows on a CPU: scales are quotients
rounded to nearest, and conversions to e4m3 are the hardware's, which round to nearest even.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels.formats import e2m1, fp8, nvfp4
from neokernels.formats.fp8 import Fp8Rows
from neokernels.formats.magnitude import SMALLEST_SCALE
from neokernels.formats.nvfp4 import Nvfp4Rows
from neokernels.tuning.space import Outputs

Form = Literal["fp8", "nvfp4"]

_LARGEST_E4M3 = tl.constexpr(fp8.LARGEST)
_LARGEST_E2M1 = tl.constexpr(e2m1.LARGEST)
_SMALLEST_SCALE = tl.constexpr(SMALLEST_SCALE)
_SMALLEST_ROW_SCALE = tl.constexpr(nvfp4.SMALLEST_ROW_SCALE)
_BLOCK = tl.constexpr(nvfp4.BLOCK)


@triton.jit
def _largest_magnitude(x, axis: tl.constexpr):
    """Of float32, NaN above all: bits of floats without their sign are ordered as integers are."""
    return tl.max(x.to(tl.int32, bitcast=True) & 0x7FFFFFFF, axis).to(tl.float32, bitcast=True)


@triton.jit
def _at_least(x, smallest):
    return tl.maximum(x, smallest, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _e2m1(x):
    """Codes of float32 as int32, to nearest, ties to even; beyond ±6 it is ±6."""
    magnitude = tl.minimum(tl.abs(x), _LARGEST_E2M1)
    # A float of 2²³ steps has no bits for parts of one: a number added to it is rounded to whole steps, ties to even,
    # and its last bits count them. A code counts them too, from where the step was last doubled.
    in_steps = tl.where(magnitude < 2.0, 4194304.0, tl.where(magnitude < 4.0, 8388608.0, 16777216.0)) + magnitude
    offset = tl.where(magnitude < 2.0, 0, tl.where(magnitude < 4.0, 2, 4))
    code = (in_steps.to(tl.int32, bitcast=True) & 7) + offset
    return code | ((x.to(tl.int32, bitcast=True) >> 28) & 8)


@triton.jit
def _store_fp8(x, values_ptr, row_scales_ptr, row, column, rows, width):
    largest = _largest_magnitude(x, 1)
    scale = tl.where(largest == 0.0, 1.0, _at_least(tl.div_rn(largest, _LARGEST_E4M3), _SMALLEST_SCALE))
    values = x * tl.div_rn(1.0, scale)[:, None]
    at = row.to(tl.int64)[:, None] * width + column[None, :]
    # A largest number that is rounded to a bit above 448 is still 448 in e4m3.
    tl.store(values_ptr + at, values.to(tl.float8e4nv), (row[:, None] < rows) & (column[None, :] < width))
    tl.store(row_scales_ptr + row, scale, row < rows)


@triton.jit
def _store_nvfp4(x, codes_ptr, scales_ptr, row_scales_ptr, row, rows, width):
    ROWS: tl.constexpr = x.shape[0]
    BLOCKS: tl.constexpr = x.shape[1] // _BLOCK
    blocks = tl.reshape(x, (ROWS, BLOCKS, _BLOCK))
    largest = _largest_magnitude(blocks, 2)
    row_scale = _at_least(tl.div_rn(_largest_magnitude(largest, 1), _LARGEST_E4M3 * _LARGEST_E2M1), _SMALLEST_ROW_SCALE)
    wide_scale = tl.broadcast_to(row_scale[:, None], (ROWS, BLOCKS))
    scale = tl.div_rn(tl.div_rn(largest, _LARGEST_E2M1), wide_scale).to(tl.float8e4nv)
    step = scale.to(tl.float32) * wide_scale
    per_step = tl.where(step == 0.0, 0.0, tl.div_rn(1.0, step))
    codes = _e2m1(blocks * per_step[:, :, None])
    low, high = tl.split(tl.reshape(codes, (ROWS, BLOCKS * (_BLOCK // 2), 2)))
    filled = tl.cdiv(width, _BLOCK)
    byte = tl.arange(0, BLOCKS * (_BLOCK // 2))[None, :]
    inside, at = row[:, None] < rows, row.to(tl.int64)[:, None] * filled
    packed = (low | (high << 4)).to(tl.uint8)
    tl.store(codes_ptr + at * (_BLOCK // 2) + byte, packed, inside & (byte < filled * (_BLOCK // 2)))
    block = tl.arange(0, BLOCKS)[None, :]
    tl.store(scales_ptr + at + block, scale, inside & (block < filled))
    tl.store(row_scales_ptr + row, row_scale, row < rows)


@triton.jit
def store_quantised(x, values_ptr, scales_ptr, row_scales_ptr, row, column, rows, width, BLOCKED: tl.constexpr):
    """x [rows of a program, a power of two not below 16], zero beyond `width`; in blocks as NVFP4, or whole as fp8."""
    if BLOCKED:
        _store_nvfp4(x.to(tl.float32), values_ptr, scales_ptr, row_scales_ptr, row, rows, width)
    else:
        _store_fp8(x.to(tl.float32), values_ptr, row_scales_ptr, row, column, rows, width)


SOURCES = (store_quantised, _store_fp8, _store_nvfp4, _e2m1, _at_least, _largest_magnitude)


@dataclass(frozen=True, slots=True)
class RoomForRows:
    """What `store_quantised` fills."""

    values: Tensor
    scales: Tensor
    """Of blocks; those of rows where there are no blocks."""
    row_scales: Tensor
    columns: int

    @staticmethod
    def empty(rows: int, columns: int, form: Form, device: torch.device) -> RoomForRows:
        row_scales = torch.empty((rows, 1), dtype=torch.float32, device=device)
        if form == "fp8":
            values = torch.empty((rows, columns), dtype=fp8.E4M3, device=device)
            return RoomForRows(values, row_scales, row_scales, columns)
        blocks = triton.cdiv(columns, nvfp4.BLOCK)
        codes = torch.empty((rows, blocks * nvfp4.BLOCK // 2), dtype=torch.uint8, device=device)
        return RoomForRows(codes, torch.empty((rows, blocks), dtype=fp8.E4M3, device=device), row_scales, columns)

    @property
    def fp8(self) -> Fp8Rows:
        return Fp8Rows(self.values, self.row_scales)

    @property
    def nvfp4(self) -> Nvfp4Rows:
        return Nvfp4Rows(self.values, self.scales, self.row_scales, self.columns)


def parts(quantised: Fp8Rows | Nvfp4Rows) -> Outputs:
    """The tensors of quantised rows."""
    if isinstance(quantised, Fp8Rows):
        return quantised.values, quantised.scales
    return quantised.codes, quantised.scales, quantised.row_scales


def exact_parts(x: Tensor, form: Form) -> Outputs:
    """Of x [T, K] float64: of fp8 the values before they are rounded; NVFP4's codes have nothing before."""
    if form == "nvfp4":
        return parts(nvfp4.quantise_activations(x))
    largest = x.abs().amax(-1, keepdim=True)
    scales = torch.where(largest == 0, 1.0, largest / fp8.LARGEST)
    return x / scales, scales


def stored_bytes(rows: int, columns: int, form: Form) -> int:
    if form == "fp8":
        return rows * (columns + 4)
    blocks = -(-columns // nvfp4.BLOCK)
    return rows * (blocks * (nvfp4.BLOCK // 2 + 1) + 4)
