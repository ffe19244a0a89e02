"""Tokens quantised as they are, fp8 or NVFP4, in one pass over memory.

A program reads whole rows and keeps them in registers while it finds their scale. The bound is the memory's: a number
read, and half or about a quarter of one written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import triton
import triton.language as tl
from torch import Tensor

from neokernels.cuda.rows.registers import PER_WARP, holds_rows
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
from neokernels.formats import fp8, nvfp4
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype


@triton.jit(do_not_specialize=["rows"])
def _quantise_rows_kernel(
    x_ptr,
    values_ptr,
    scales_ptr,
    row_scales_ptr,
    rows,
    width,
    stride,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKED: tl.constexpr,
    WAITS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = (row[:, None] < rows) & (column[None, :] < width)
    if WAITS:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    x = tl.load(x_ptr + row.to(tl.int64)[:, None] * stride + column[None, :], inside, other=0.0)
    store_quantised(x, values_ptr, scales_ptr, row_scales_ptr, row, column, rows, width, BLOCKED)


@dataclass(frozen=True)
class QuantisedRows(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    width: int
    dtype: str
    form: Form


def quantise_fp8(x: Tensor, *, schedules: Schedules) -> fp8.Fp8Rows:
    """As `neokernels.formats.fp8.quantise_activations`."""
    return _launch(x, "fp8", schedules).fp8


def quantise_nvfp4(x: Tensor, *, schedules: Schedules) -> nvfp4.Nvfp4Rows:
    """As `neokernels.formats.nvfp4.quantise_activations`."""
    return _launch(x, "nvfp4", schedules).nvfp4


def _launch(x: Tensor, form: Form, schedules: Schedules) -> RoomForRows:
    rows, width = x.shape
    room = RoomForRows.empty(rows, width, form, x.device)
    if rows:
        config = schedules.config(QUANTISE_ROWS, QuantisedRows(rows, width, dtype_name(x.dtype), form))
        _quantise_rows_kernel[(triton.cdiv(rows, config.number("ROWS")),)](
            x if x.stride(1) == 1 else x.contiguous(),
            room.values,
            room.scales,
            room.row_scales,
            rows,
            width,
            x.stride(0) if x.stride(1) == 1 else width,
            BLOCK=max(nvfp4.BLOCK, triton.next_power_of_2(width)),
            BLOCKED=form == "nvfp4",
            WAITS=config.waits,
            **config.constants,
            **config.options,
        )
    return room


class QuantiseRows(TunableKernel[QuantisedRows]):
    name = "quantise_rows"
    problem_type = QuantisedRows
    sources = (_quantise_rows_kernel, *SOURCES)
    dependent = True
    knobs = (Knob("ROWS", (1, 2, 4)), Knob("num_warps", (1, 2, 4, 8, 16, 32)), Knob("launch_pdl", (False, True)))
    examples = (QuantisedRows(64, 4096, "bfloat16", "fp8"), QuantisedRows(2048, 8192, "bfloat16", "nvfp4"))

    def problems(self, model: ModelShape) -> Iterator[QuantisedRows]:
        forms: dict[str, Form] = {"fp8": "fp8", "nvfp4": "nvfp4"}
        if model.weight_format not in forms:
            return
        widths = {inputs for _, inputs in model.projections}
        if model.weight_format == "fp8":
            # Activations are quantised where they are made, and so is all but the first of what norms make.
            widths -= set(model.intermediates)
        for width in sorted(widths):
            for rows in model.rows:
                yield QuantisedRows(rows, width, model.dtype, forms[model.weight_format])

    def heuristic(self, problem: QuantisedRows, device: Device) -> Config:
        warps = triton.next_power_of_2(problem.width) // PER_WARP
        return Config(ROWS=1, num_warps=max(1, min(16, warps)), launch_pdl=False)

    def expects(self, problem: QuantisedRows, config: Config, device: Device) -> tuple[str, ...]:
        return ("ld.global.v4", "cvt.rn.satfinite.e4m3x2.f32")

    def makes_sense(self, problem: QuantisedRows, config: Config, device: Device) -> bool:
        return holds_rows(config, problem.width)

    def inputs(self, problem: QuantisedRows, draw: Draw) -> Inputs:
        return draw.normal(problem.rows, problem.width, dtype=named_dtype(problem.dtype)), problem.form

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        x, form = inputs
        return parts((quantise_fp8 if form == "fp8" else quantise_nvfp4)(x, schedules=schedules))

    def reference(self, inputs: Inputs) -> Outputs:
        x, form = inputs
        return parts(fp8.quantise_activations(x) if form == "fp8" else nvfp4.quantise_activations(x))

    def exact(self, inputs: Inputs) -> Outputs:
        x, form = inputs
        return exact_parts(x.double(), form)

    def work(self, problem: QuantisedRows) -> Work:
        read = problem.rows * problem.width * named_dtype(problem.dtype).itemsize
        return Work(nbytes=read + stored_bytes(problem.rows, problem.width, problem.form))


QUANTISE_ROWS = QuantiseRows()
