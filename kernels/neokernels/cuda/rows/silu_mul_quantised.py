"""The gated activation of SwiGLU, quantised as it is stored: fp8 or NVFP4.

A program has whole rows, for the scale of a row needs all of it. What it reads of gate and of up becomes its activation
in registers; the scale costs a reduction and no byte. The bound is the memory's, two numbers read and half or about a
quarter of one written, but for rows of more than 16384 numbers: one of those fills a multiprocessor's registers, and
nothing is read while it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import triton
import triton.language as tl
from torch import Tensor

from neokernels import silu_mul_quantised as operation
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
from neokernels.cuda.rows.silu_mul import exact_gating, gated
from neokernels.device import Device
from neokernels.formats.fp8 import Fp8Rows
from neokernels.formats.nvfp4 import BLOCK, Nvfp4Rows
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype

_PER_WARP_OF_MANY = 1024
"""Where rows wait for a multiprocessor: so many numbers that two of the widest usual rows share its registers, and one
is read while the other is computed."""


@triton.jit(do_not_specialize=["rows"])
def _silu_mul_quantised_kernel(
    gate_up_ptr,
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
    at = gate_up_ptr + row.to(tl.int64)[:, None] * stride + column[None, :]
    if WAITS:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    gate, up = tl.load(at, inside, other=0.0), tl.load(at + width, inside, other=0.0)
    out = gated(gate.to(tl.float32), up.to(tl.float32), 1.0, 0.0, False).to(gate.dtype)
    store_quantised(out, values_ptr, scales_ptr, row_scales_ptr, row, column, rows, width, BLOCKED)


@dataclass(frozen=True)
class QuantisedGating(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    width: int
    """Of the result: half of what is read."""
    dtype: str
    form: Form


def silu_mul_fp8(gate_up: Tensor, *, schedules: Schedules) -> Fp8Rows:
    """As `neokernels.silu_mul_quantised.silu_mul_fp8_reference`."""
    return _launch(gate_up, "fp8", schedules).fp8


def silu_mul_nvfp4(gate_up: Tensor, *, schedules: Schedules) -> Nvfp4Rows:
    """As `neokernels.silu_mul_quantised.silu_mul_nvfp4_reference`."""
    return _launch(gate_up, "nvfp4", schedules).nvfp4


def _launch(gate_up: Tensor, form: Form, schedules: Schedules) -> RoomForRows:
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    room = RoomForRows.empty(rows, width, form, gate_up.device)
    if rows:
        config = schedules.config(SILU_MUL_QUANTISED, QuantisedGating(rows, width, dtype_name(gate_up.dtype), form))
        _silu_mul_quantised_kernel[(triton.cdiv(rows, config.number("ROWS")),)](
            gate_up,
            room.values,
            room.scales,
            room.row_scales,
            rows,
            width,
            gate_up.stride(0),
            BLOCK=max(BLOCK, triton.next_power_of_2(width)),
            BLOCKED=form == "nvfp4",
            WAITS=config.waits,
            **config.constants,
            **config.options,
        )
    return room


class SiluMulQuantised(TunableKernel[QuantisedGating]):
    name = "silu_mul_quantised"
    problem_type = QuantisedGating
    sources = (_silu_mul_quantised_kernel, gated, *SOURCES)
    dependent = True
    knobs = (Knob("ROWS", (1, 2, 4)), Knob("num_warps", (1, 2, 4, 8, 16, 32)), Knob("launch_pdl", (False, True)))
    examples = (
        QuantisedGating(64, 14336, "bfloat16", "fp8"),
        QuantisedGating(2048, 28672, "bfloat16", "fp8"),
        QuantisedGating(2048, 12288, "bfloat16", "nvfp4"),
    )

    def problems(self, model: ModelShape) -> Iterator[QuantisedGating]:
        if model.weight_format == "fp8":
            for width in model.intermediates:
                for rows in model.rows:
                    yield QuantisedGating(rows, width, model.dtype, "fp8")

    def heuristic(self, problem: QuantisedGating, device: Device) -> Config:
        per_warp = PER_WARP if problem.rows <= device.multiprocessors else _PER_WARP_OF_MANY
        warps = triton.next_power_of_2(problem.width) // per_warp
        return Config(ROWS=1, num_warps=max(1, min(32, warps)), launch_pdl=False)

    def expects(self, problem: QuantisedGating, config: Config, device: Device) -> tuple[str, ...]:
        return ("ld.global.v4", "cvt.rn.satfinite.e4m3x2.f32")

    def makes_sense(self, problem: QuantisedGating, config: Config, device: Device) -> bool:
        return holds_rows(config, problem.width)

    def inputs(self, problem: QuantisedGating, draw: Draw) -> Inputs:
        dtype = named_dtype(problem.dtype)
        return draw.normal(problem.rows, 2 * problem.width, dtype=dtype, scale=4.0), problem.form

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        gate_up, form = inputs
        launched = silu_mul_fp8 if form == "fp8" else silu_mul_nvfp4
        return parts(launched(gate_up, schedules=schedules))

    def reference(self, inputs: Inputs) -> Outputs:
        gate_up, form = inputs
        fp8 = form == "fp8"
        return parts((operation.silu_mul_fp8_reference if fp8 else operation.silu_mul_nvfp4_reference)(gate_up))

    def exact(self, inputs: Inputs) -> Outputs:
        gate_up, form = inputs
        return exact_parts(exact_gating(gate_up, None), form)

    def work(self, problem: QuantisedGating) -> Work:
        read = 2 * problem.rows * problem.width * named_dtype(problem.dtype).itemsize
        return Work(nbytes=read + stored_bytes(problem.rows, problem.width, problem.form))


SILU_MUL_QUANTISED = SiluMulQuantised()
