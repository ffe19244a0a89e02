"""Tokens quantised to MXFP8 as they are, in one pass over memory.

Blocks of 32 know nothing of one another, so a program takes any piece of a row: pieces are as many as fill the device.
The bound is the memory's: two bytes read and one written a number; for few rows it is the launch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import pad

from neokernels.cuda.rows.registers import PER_WARP
from neokernels.device import Device
from neokernels.formats import fp8, mx_rows
from neokernels.formats.mx_rows import MxRows
from neokernels.formats.mxfp4 import BLOCK
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype

_BLOCK = tl.constexpr(BLOCK)
_LARGEST = tl.constexpr(fp8.LARGEST)
_LARGEST_EXPONENT = tl.constexpr(mx_rows.LARGEST_EXPONENT["e4m3"])


@triton.jit(do_not_specialize=["rows"])
def _quantise_mxfp8_kernel(
    x_ptr,
    values_ptr,
    scales_ptr,
    rows,
    width,
    blocks,
    x_stride,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WAITS: tl.constexpr,
):
    BLOCKS: tl.constexpr = COLUMNS // _BLOCK
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    block = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)[None, :]
    at = row.to(tl.int64)
    if WAITS:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    x = tl.load(x_ptr + at * x_stride + column, (row < rows) & (column < width), other=0.0)
    x = x.to(tl.float32).reshape(ROWS, BLOCKS, _BLOCK)
    # Bits of floats without their sign are ordered as integers are, NaN above all.
    largest = tl.max(x.to(tl.int32, bitcast=True) & 0x7FFFFFFF, 2)
    scale = tl.where(largest >= 0x7F800000, 255, tl.maximum((largest >> 23) - _LARGEST_EXPONENT, 0))
    inverse = (tl.maximum(254 - scale, 1) << 23).to(tl.float32, bitcast=True)
    values = tl.minimum(tl.maximum(x * inverse[:, :, None], -_LARGEST), _LARGEST).reshape(ROWS, COLUMNS)
    filled = (row < rows) & (column < blocks * _BLOCK)
    tl.store(values_ptr + at * (blocks * _BLOCK) + column, values.to(tl.float8e4nv), filled)
    tl.store(scales_ptr + at * blocks + block, scale.to(tl.uint8), (row < rows) & (block < blocks))


@dataclass(frozen=True)
class MicroscaledRows(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    width: int
    dtype: str


def quantise_mxfp8(x: Tensor, *, schedules: Schedules) -> MxRows:
    """As `formats.mx_rows.quantise_activations` with e4m3: x [T, K]."""
    rows, width = x.shape
    blocks = triton.cdiv(width, BLOCK)
    values = torch.empty((rows, blocks * BLOCK), dtype=fp8.E4M3, device=x.device)
    scales = torch.empty((rows, blocks), dtype=torch.uint8, device=x.device)
    if rows:
        config = schedules.config(QUANTISE_MXFP8, MicroscaledRows(rows, width, dtype_name(x.dtype)))
        x = x if x.stride(1) == 1 else x.contiguous()
        grid = triton.cdiv(rows, config.number("ROWS")), triton.cdiv(width, config.number("COLUMNS"))
        _quantise_mxfp8_kernel[grid](
            x,
            values,
            scales,
            rows,
            width,
            blocks,
            x.stride(0),
            WAITS=config.waits,
            **config.constants,
            **config.options,
        )
    return MxRows(values, scales, width)


class QuantiseMxfp8(TunableKernel[MicroscaledRows]):
    name = "quantise_mxfp8"
    problem_type = MicroscaledRows
    sources = (_quantise_mxfp8_kernel,)
    dependent = True
    knobs = (
        Knob("ROWS", (1, 2, 4, 8)),
        Knob("COLUMNS", (256, 512, 1024, 2048, 4096)),
        Knob("num_warps", (1, 2, 4, 8)),
        Knob("launch_pdl", (False, True)),
    )
    examples = (MicroscaledRows(64, 2880, "bfloat16"), MicroscaledRows(2048, 4096, "bfloat16"))

    def problems(self, model: ModelShape) -> Iterator[MicroscaledRows]:
        if model.weight_format == "mxfp4":
            for width in sorted({inputs for _, inputs in model.projections}):
                for rows in model.rows:
                    yield MicroscaledRows(rows, width, model.dtype)

    def heuristic(self, problem: MicroscaledRows, device: Device) -> Config:
        columns = max(256, min(4096, triton.next_power_of_2(problem.width)))
        while columns > 512 and problem.rows * triton.cdiv(problem.width, columns) < 4 * device.multiprocessors:
            columns //= 2
        return Config(ROWS=1, COLUMNS=columns, num_warps=max(1, columns // PER_WARP), launch_pdl=False)

    def expects(self, problem: MicroscaledRows, config: Config, device: Device) -> tuple[str, ...]:
        return ("ld.global.v4", "cvt.rn.satfinite.e4m3x2.f32")

    def makes_sense(self, problem: MicroscaledRows, config: Config, device: Device) -> bool:
        columns = config.number("COLUMNS")
        a_thread = config.number("ROWS") * columns / (32 * config.number("num_warps"))
        return 8 <= a_thread <= 64 and columns < 2 * max(256, triton.next_power_of_2(problem.width))

    def inputs(self, problem: MicroscaledRows, draw: Draw) -> Inputs:
        return (draw.normal(problem.rows, problem.width, dtype=named_dtype(problem.dtype)),)

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        rows = quantise_mxfp8(*inputs, schedules=schedules)
        return rows.values, rows.scales

    def reference(self, inputs: Inputs) -> Outputs:
        (x,) = inputs
        rows = mx_rows.quantise_activations(x, "e4m3")
        return rows.values, rows.scales

    def exact(self, inputs: Inputs) -> Outputs:
        """The values before they are rounded."""
        (x,) = inputs
        scales = mx_rows.quantise_activations(x, "e4m3").scales
        inverse = torch.exp2(127 - scales.double()).repeat_interleave(BLOCK, -1)
        return pad(x.double(), (0, -x.shape[1] % BLOCK)) * inverse, scales

    def work(self, problem: MicroscaledRows) -> Work:
        read = problem.rows * problem.width * named_dtype(problem.dtype).itemsize
        return Work(nbytes=read + problem.rows * triton.cdiv(problem.width, BLOCK) * (BLOCK + 1))


QUANTISE_MXFP8 = QuantiseMxfp8()
