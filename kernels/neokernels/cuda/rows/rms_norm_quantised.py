"""The residual sum and its RMS norm, quantised as it is stored: fp8 or NVFP4.

One pass over memory, as in `rms_norm`: rows are in registers when they are normalised, so that their largest magnitude
costs another reduction and no byte. Half (fp8) or about a quarter (NVFP4) of what the norm alone would write is
written, and no kernel has to read it to quantise it. The bound is the memory's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import triton
import triton.language as tl
from torch import Tensor

from neokernels import rms_norm_quantised as operation
from neokernels.cuda.rows.rms_norm import RMS_NORM, RowNorm, normalised, summed_rows
from neokernels.cuda.rows.row_quantisation import (
    SOURCES,
    Form,
    RoomForRows,
    exact_parts,
    parts,
    store_quantised,
    stored_bytes,
)
from neokernels.device import Device
from neokernels.formats.fp8 import Fp8Rows
from neokernels.formats.nvfp4 import BLOCK, Nvfp4Rows
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype


@triton.jit(do_not_specialize=["rows"])
def _rms_norm_quantised_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    total_ptr,
    values_ptr,
    scales_ptr,
    row_scales_ptr,
    rows,
    width,
    x_stride,
    eps,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKED: tl.constexpr,
    WAITS: tl.constexpr,
):
    rows_here = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK)
    row, column = rows_here[:, None], columns[None, :]
    if WAITS:
        weight = tl.load(weight_ptr + column, column < width, other=0.0)
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    inside = (row < rows) & (column < width)
    total = summed_rows(x_ptr, residual_ptr, row, column, inside, width, x_stride, True)
    tl.store(total_ptr + row.to(tl.int64) * width + column, total, inside)
    out = normalised(total, width, eps)
    if not WAITS:
        weight = tl.load(weight_ptr + column, column < width, other=0.0)
    out = (out * weight.to(tl.float32)).to(total.dtype)
    store_quantised(out, values_ptr, scales_ptr, row_scales_ptr, rows_here, columns, rows, width, BLOCKED)


@dataclass(frozen=True)
class QuantisedRowNorm(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    width: int
    dtype: str
    form: Form

    @property
    def unquantised(self) -> RowNorm:
        return RowNorm(self.rows, self.width, self.dtype, adds=True)


def add_rms_norm_fp8(
    x: Tensor, residual: Tensor, weight: Tensor, eps: float, *, schedules: Schedules
) -> tuple[Fp8Rows, Tensor]:
    """As `neokernels.rms_norm_quantised.add_rms_norm_fp8_reference`."""
    room, total = _launch(x, residual, weight, eps, "fp8", schedules)
    return room.fp8, total


def add_rms_norm_nvfp4(
    x: Tensor, residual: Tensor, weight: Tensor, eps: float, *, schedules: Schedules
) -> tuple[Nvfp4Rows, Tensor]:
    """As `neokernels.rms_norm_quantised.add_rms_norm_nvfp4_reference`."""
    room, total = _launch(x, residual, weight, eps, "nvfp4", schedules)
    return room.nvfp4, total


def _launch(
    x: Tensor, residual: Tensor, weight: Tensor, eps: float, form: Form, schedules: Schedules
) -> tuple[RoomForRows, Tensor]:
    rows, width = x.shape
    room, total = RoomForRows.empty(rows, width, form, x.device), x.new_empty((rows, width))
    if rows:
        config = schedules.config(RMS_NORM_QUANTISED, QuantisedRowNorm(rows, width, dtype_name(x.dtype), form))
        _rms_norm_quantised_kernel[(triton.cdiv(rows, config.number("ROWS")),)](
            x,
            residual.contiguous(),
            weight,
            total,
            room.values,
            room.scales,
            room.row_scales,
            rows,
            width,
            x.stride(0),
            eps,
            BLOCK=max(BLOCK, triton.next_power_of_2(width)),
            BLOCKED=form == "nvfp4",
            WAITS=config.waits,
            **config.constants,
            **config.options,
        )
    return room, total


class RmsNormQuantised(TunableKernel[QuantisedRowNorm]):
    name = "rms_norm_quantised"
    problem_type = QuantisedRowNorm
    sources = (_rms_norm_quantised_kernel, summed_rows, normalised, *SOURCES)
    dependent = True
    knobs = (Knob("ROWS", (1, 2, 4)), Knob("num_warps", (1, 2, 4, 8, 16)), Knob("launch_pdl", (False, True)))
    examples = (
        QuantisedRowNorm(64, 4096, "bfloat16", "fp8"),
        QuantisedRowNorm(8192, 8192, "bfloat16", "fp8"),
        QuantisedRowNorm(2048, 5120, "bfloat16", "nvfp4"),
    )

    def problems(self, model: ModelShape) -> Iterator[QuantisedRowNorm]:
        if model.weight_format == "fp8":
            for rows in model.rows:
                yield QuantisedRowNorm(rows, model.hidden, model.dtype, "fp8")

    def heuristic(self, problem: QuantisedRowNorm, device: Device) -> Config:
        return RMS_NORM.heuristic(problem.unquantised, device)

    def expects(self, problem: QuantisedRowNorm, config: Config, device: Device) -> tuple[str, ...]:
        return ("ld.global.v4", "cvt.rn.satfinite.e4m3x2.f32")

    def makes_sense(self, problem: QuantisedRowNorm, config: Config, device: Device) -> bool:
        return RMS_NORM.makes_sense(problem.unquantised, config, device)

    def inputs(self, problem: QuantisedRowNorm, draw: Draw) -> Inputs:
        return *RMS_NORM.inputs(problem.unquantised, draw), problem.form

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        *arguments, form = inputs
        launched = add_rms_norm_fp8 if form == "fp8" else add_rms_norm_nvfp4
        quantised, total = launched(*arguments, schedules=schedules)
        return *parts(quantised), total

    def reference(self, inputs: Inputs) -> Outputs:
        *arguments, form = inputs
        fp8 = form == "fp8"
        reference = operation.add_rms_norm_fp8_reference if fp8 else operation.add_rms_norm_nvfp4_reference
        quantised, total = reference(*arguments)
        return *parts(quantised), total

    def exact(self, inputs: Inputs) -> Outputs:
        *arguments, form = inputs
        out, total = RMS_NORM.exact(tuple(arguments))
        return *exact_parts(out, form), total

    def work(self, problem: QuantisedRowNorm) -> Work:
        dense = (3 * problem.rows + 1) * problem.width * named_dtype(problem.dtype).itemsize
        return Work(nbytes=dense + stored_bytes(problem.rows, problem.width, problem.form))


RMS_NORM_QUANTISED = RmsNormQuantised()
