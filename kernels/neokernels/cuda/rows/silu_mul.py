"""The gated activations, silu(gate) · up and gpt-oss's clamped one, in one pass over memory.

A program takes a tile of the result and reads the same tile of gate and of up, sixteen numbers a thread: two loads of
sixteen bytes of either in bfloat16. Nothing is reused and next to nothing computed, so the bound is the memory's: two
numbers read and one written. All is computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels import silu_mul as operation
from neokernels.cuda.rows.registers import PER_WARP
from neokernels.device import Device
from neokernels.silu_mul import SwigluClamp
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype

_TILE = 2048
"""Numbers of a program where there are many."""
GPT_OSS_CLAMP = SwigluClamp(alpha=1.702, limit=7.0)
"""For examples."""


@triton.jit
def gated(gate, up, alpha, limit, CLAMPED: tl.constexpr):
    """The activation of gate and up in float32; NaN stays NaN whatever the clamp."""
    if CLAMPED:
        gate = tl.minimum(gate, limit, propagate_nan=tl.PropagateNan.ALL)
        up = tl.clamp(up, -limit, limit, propagate_nan=tl.PropagateNan.ALL) + 1.0
        return gate / (1.0 + tl.exp(-alpha * gate)) * up
    return gate / (1.0 + tl.exp(-gate)) * up


@triton.jit(do_not_specialize=["rows"])
def _silu_mul_kernel(
    gate_up_ptr,
    out_ptr,
    rows,
    width,
    stride,
    alpha,
    limit,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CLAMPED: tl.constexpr,
    WAITS: tl.constexpr,
):
    # Programs that follow one another lie side by side in a row: one axis, for the other axes of a grid are short.
    tiles = tl.cdiv(width, COLUMNS)
    row = (tl.program_id(0) // tiles) * ROWS + tl.arange(0, ROWS)[:, None]
    column = (tl.program_id(0) % tiles) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (row < rows) & (column < width)
    row = row.to(tl.int64)
    if WAITS:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    gate = tl.load(gate_up_ptr + row * stride + column, inside, other=0.0)
    up = tl.load(gate_up_ptr + row * stride + width + column, inside, other=0.0)
    out = gated(gate.to(tl.float32), up.to(tl.float32), alpha, limit, CLAMPED)
    tl.store(out_ptr + row * width + column, out.to(gate.dtype), inside)


@dataclass(frozen=True)
class Gating(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    width: int
    """Of the result: half of what is read."""
    dtype: str
    clamped: bool
    """Whether the activation is gpt-oss's."""


def silu_mul(gate_up: Tensor, *, schedules: Schedules) -> Tensor:
    """As `neokernels.silu_mul.silu_mul_reference`."""
    return _launch(gate_up, None, schedules)


def clamped_swiglu(gate_up: Tensor, clamp: SwigluClamp, *, schedules: Schedules) -> Tensor:
    """As `neokernels.silu_mul.clamped_swiglu_reference`."""
    return _launch(gate_up, clamp, schedules)


def _launch(gate_up: Tensor, clamp: SwigluClamp | None, schedules: Schedules) -> Tensor:
    if gate_up.stride(-1) != 1:
        gate_up = gate_up.contiguous()
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty((rows, width))
    if not out.numel():
        return out
    config = schedules.config(SILU_MUL, Gating(rows, width, dtype_name(gate_up.dtype), clamp is not None))
    alpha, limit = clamp or (1.0, 0.0)
    tiles = triton.cdiv(rows, config.number("ROWS")) * triton.cdiv(width, config.number("COLUMNS"))
    _silu_mul_kernel[(tiles,)](
        gate_up,
        out,
        rows,
        width,
        gate_up.stride(0),
        alpha,
        limit,
        CLAMPED=clamp is not None,
        WAITS=config.waits,
        **config.constants,
        **config.options,
    )
    return out


class SiluMul(TunableKernel[Gating]):
    name = "silu_mul"
    problem_type = Gating
    sources = (_silu_mul_kernel, gated)
    dependent = True
    knobs = (
        Knob("ROWS", (1, 2, 4, 8)),
        Knob("COLUMNS", (256, 512, 1024, 2048, 4096)),
        Knob("num_warps", (1, 2, 4, 8)),
        Knob("launch_pdl", (False, True)),
    )
    examples = (
        Gating(64, 12288, "bfloat16", clamped=False),
        Gating(8192, 3072, "bfloat16", clamped=False),
        Gating(2048, 2880, "bfloat16", clamped=True),
    )

    def problems(self, model: ModelShape) -> Iterator[Gating]:
        if model.weight_format == "fp8":
            return  # quantised where it is made
        for width in model.intermediates:
            for rows in model.rows:
                yield Gating(rows, width, model.dtype, clamped=False)

    def heuristic(self, problem: Gating, device: Device) -> Config:
        widest = triton.next_power_of_2(problem.width)
        columns, rows = min(widest, _TILE), max(1, min(8, _TILE // widest))
        while rows > 1 and triton.cdiv(problem.rows, rows) < 2 * device.multiprocessors:
            rows //= 2
        while columns > PER_WARP and problem.rows * problem.width < 2 * device.multiprocessors * columns:
            columns //= 2
        return Config(ROWS=rows, COLUMNS=columns, num_warps=max(1, rows * columns // PER_WARP), launch_pdl=False)

    def expects(self, problem: Gating, config: Config, device: Device) -> tuple[str, ...]:
        return ("ld.global.v4", "st.global.v4")

    def makes_sense(self, problem: Gating, config: Config, device: Device) -> bool:
        if config.number("COLUMNS") > max(256, triton.next_power_of_2(problem.width)):
            return False
        tile = config.number("ROWS") * config.number("COLUMNS")
        return 4 <= tile / (32 * config.number("num_warps")) <= 32

    def inputs(self, problem: Gating, draw: Draw) -> Inputs:
        gate_up = draw.normal(problem.rows, 2 * problem.width, dtype=named_dtype(problem.dtype), scale=4.0)
        return gate_up, GPT_OSS_CLAMP if problem.clamped else None

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        gate_up, clamp = inputs
        return (_launch(gate_up, clamp, schedules),)

    def reference(self, inputs: Inputs) -> Outputs:
        gate_up, clamp = inputs
        if clamp is None:
            return (operation.silu_mul_reference(gate_up),)
        return (operation.clamped_swiglu_reference(gate_up, clamp),)

    def exact(self, inputs: Inputs) -> Outputs:
        gate_up, clamp = inputs
        return (exact_gating(gate_up, clamp),)

    def work(self, problem: Gating) -> Work:
        return Work(nbytes=3 * problem.rows * problem.width * named_dtype(problem.dtype).itemsize)


def exact_gating(gate_up: Tensor, clamp: SwigluClamp | None) -> Tensor:
    """The formula in float64."""
    gate, up = gate_up.double().chunk(2, -1)
    if clamp is None:
        return gate / (1 + torch.exp(-gate)) * up
    gate, up = gate.clamp(max=clamp.limit), up.clamp(-clamp.limit, clamp.limit)
    return gate / (1 + torch.exp(-clamp.alpha * gate)) * (up + 1)


SILU_MUL = SiluMul()
