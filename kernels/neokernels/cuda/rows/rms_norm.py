"""RMS norm of rows, with and without the residual sum in front, one pass over memory.

A program takes whole rows: it reads x and the residual once, keeps them in registers for the sum of squares and for
the product with the weight, and writes both results. The formula and its rounding are those of `neokernels.rms_norm`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels import rms_norm as operation
from neokernels.cuda.rows.registers import PER_WARP, holds_rows
from neokernels.device import Device
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype


@triton.jit
def summed_rows(x_ptr, residual_ptr, row, column, inside, width, x_stride, ADDS: tl.constexpr):
    """Rows in the dtype of x, zero where they are not `inside`."""
    row = row.to(tl.int64)
    x = tl.load(x_ptr + row * x_stride + column, inside, other=0.0)
    if ADDS:
        # The sum is rounded to its own type first: it is what later layers see.
        residual = tl.load(residual_ptr + row * width + column, inside, other=0.0)
        x = (residual.to(tl.float32) + x.to(tl.float32)).to(x.dtype)
    return x


@triton.jit
def normalised(x, width, eps):
    """x over its root mean square, row by row, as float32 that has been rounded to the dtype of x."""
    wide = x.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, 1) / width + eps)
    return (wide * scale[:, None]).to(x.dtype).to(tl.float32)


@triton.jit(do_not_specialize=["rows"])
def _rms_norm_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    out_ptr,
    total_ptr,
    rows,
    width,
    x_stride,
    eps,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    ADDS: tl.constexpr,
    WAITS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    if WAITS:
        # The weight is no step's result: it may come while the kernel before still runs.
        weight = tl.load(weight_ptr + column, column < width, other=0.0)
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    inside = (row < rows) & (column < width)
    x = summed_rows(x_ptr, residual_ptr, row, column, inside, width, x_stride, ADDS)
    at = row.to(tl.int64) * width + column
    if ADDS:
        tl.store(total_ptr + at, x, inside)
    out = normalised(x, width, eps)
    if not WAITS:
        # Late, from the cache: registers that wait for it would be missing for rows of other programs.
        weight = tl.load(weight_ptr + column, column < width, other=0.0)
    tl.store(out_ptr + at, (out * weight.to(tl.float32)).to(x.dtype), inside)


@dataclass(frozen=True)
class RowNorm(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    width: int
    dtype: str
    adds: bool
    """Whether the residual sum comes first."""


def rms_norm(x: Tensor, weight: Tensor, eps: float, *, schedules: Schedules) -> Tensor:
    """As `neokernels.rms_norm.rms_norm_reference`."""
    return _launch(x, None, weight, eps, schedules)[0]


def add_rms_norm(
    x: Tensor, residual: Tensor, weight: Tensor, eps: float, *, schedules: Schedules
) -> tuple[Tensor, Tensor]:
    """As `neokernels.rms_norm.add_rms_norm_reference`."""
    return _launch(x, residual, weight, eps, schedules)


def _launch(
    x: Tensor, residual: Tensor | None, weight: Tensor, eps: float, schedules: Schedules
) -> tuple[Tensor, Tensor]:
    width = weight.shape[0]
    flat = x.reshape(-1, width)
    rows = flat.shape[0]
    out = torch.empty_like(flat)
    total = out if residual is None else torch.empty_like(flat)
    if rows:
        config = schedules.config(RMS_NORM, RowNorm(rows, width, dtype_name(x.dtype), residual is not None))
        _rms_norm_kernel[(triton.cdiv(rows, config.number("ROWS")),)](
            flat,
            flat if residual is None else residual.contiguous(),
            weight,
            out,
            total,
            rows,
            width,
            flat.stride(0),
            eps,
            BLOCK=triton.next_power_of_2(width),
            ADDS=residual is not None,
            WAITS=config.waits,
            **config.constants,
            **config.options,
        )
    return out.view(x.shape), total.view(x.shape)


class RmsNorm(TunableKernel[RowNorm]):
    name = "rms_norm"
    problem_type = RowNorm
    sources = (_rms_norm_kernel, summed_rows, normalised)
    dependent = True
    knobs = (Knob("ROWS", (1, 2, 4, 8)), Knob("num_warps", (1, 2, 4, 8, 16)), Knob("launch_pdl", (False, True)))
    examples = (
        RowNorm(64, 4096, "bfloat16", adds=True),
        RowNorm(8192, 1024, "bfloat16", adds=True),
        RowNorm(8192, 128, "bfloat16", adds=False),
    )

    def problems(self, model: ModelShape) -> Iterator[RowNorm]:
        for rows in model.rows:
            yield RowNorm(rows, model.hidden, model.dtype, adds=True)

    def heuristic(self, problem: RowNorm, device: Device) -> Config:
        block = triton.next_power_of_2(problem.width)
        per_program = max(1, min(8, 1024 // block))
        while per_program > 1 and triton.cdiv(problem.rows, per_program) < 2 * device.multiprocessors:
            per_program //= 2
        warps = max(1, min(16, per_program * block // PER_WARP))
        return Config(ROWS=per_program, num_warps=warps, launch_pdl=False)

    def makes_sense(self, problem: RowNorm, config: Config, device: Device) -> bool:
        return holds_rows(config, problem.width)

    def inputs(self, problem: RowNorm, draw: Draw) -> Inputs:
        dtype = named_dtype(problem.dtype)
        x = draw.normal(problem.rows, problem.width, dtype=dtype)
        residual = draw.normal(problem.rows, problem.width, dtype=dtype) if problem.adds else None
        return x, residual, draw.normal(problem.width, dtype=dtype), 1e-6

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        x, residual, weight, eps = inputs
        out, total = _launch(x, residual, weight, eps, schedules)
        return (out,) if residual is None else (out, total)

    def reference(self, inputs: Inputs) -> Outputs:
        x, residual, weight, eps = inputs
        if residual is None:
            return (operation.rms_norm_reference(x, weight, eps),)
        return operation.add_rms_norm_reference(x, residual, weight, eps)

    def exact(self, inputs: Inputs) -> Outputs:
        x, residual, weight, eps = inputs
        total = x.double() if residual is None else x.double() + residual.double()
        out = total / (total.square().mean(-1, keepdim=True) + eps).sqrt() * weight.double()
        return (out,) if residual is None else (out, total)

    def library(self, inputs: Inputs) -> Outputs | None:
        x, residual, weight, eps = inputs
        if residual is not None:
            return None
        return (torch.nn.functional.rms_norm(x, weight.shape, weight, eps),)

    def work(self, problem: RowNorm) -> Work:
        moved = 4 if problem.adds else 2
        return Work(nbytes=(moved * problem.rows + 1) * problem.width * named_dtype(problem.dtype).itemsize)


RMS_NORM = RmsNorm()
