"""Cosines and sines of a step's positions, in one launch where torch takes ten.

Made once a step and read by every layer: the launches are the cost. Angles are float32 and reduced exactly, as torch
reduces them, for positions reach far beyond what a fast cosine is good for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels.device import Device
from neokernels.rope_kv_write import rotary_factors_reference
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype


@triton.jit(do_not_specialize=["tokens"])
def _rotary_factors_kernel(
    positions_ptr,
    frequencies_ptr,
    cos_ptr,
    sin_ptr,
    tokens,
    magnitude,
    HALF: tl.constexpr,
    PAIRS: tl.constexpr,
    TOKENS: tl.constexpr,
    WAITS: tl.constexpr,
):
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)[:, None]
    pair = tl.arange(0, PAIRS)[None, :]
    frequency = tl.load(frequencies_ptr + pair, pair < HALF, other=0.0)
    if WAITS:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    position = tl.load(positions_ptr + token, token < tokens, other=0)
    angle = position.to(tl.float32) * frequency
    cos = (tl.cos(angle) * magnitude).to(cos_ptr.dtype.element_ty)
    sin = (tl.sin(angle) * magnitude).to(sin_ptr.dtype.element_ty)
    at, inside = token.to(tl.int64) * (2 * HALF) + pair, (token < tokens) & (pair < HALF)
    tl.store(cos_ptr + at, cos, inside)
    tl.store(cos_ptr + at + HALF, cos, inside)
    tl.store(sin_ptr + at, -sin, inside)
    tl.store(sin_ptr + at + HALF, sin, inside)


@dataclass(frozen=True)
class Rotation(Problem):
    batch_fields: ClassVar = {"tokens": 64}

    tokens: int
    rotary_dim: int
    dtype: str


def rotary_factors(
    positions: Tensor, frequencies: Tensor, dtype: torch.dtype, magnitude: float = 1.0, *, schedules: Schedules
) -> tuple[Tensor, Tensor]:
    """As `neokernels.rope_kv_write.rotary_factors_reference`."""
    tokens, half = len(positions), len(frequencies)
    cos, sin = (torch.empty((tokens, 2 * half), dtype=dtype, device=positions.device) for _ in range(2))
    if tokens:
        config = schedules.config(ROTARY_FACTORS, Rotation(tokens, 2 * half, dtype_name(dtype)))
        _rotary_factors_kernel[(triton.cdiv(tokens, config.number("TOKENS")),)](
            positions,
            frequencies,
            cos,
            sin,
            tokens,
            magnitude,
            HALF=half,
            PAIRS=triton.next_power_of_2(half),
            WAITS=config.waits,
            **config.constants,
            **config.options,
        )
    return cos, sin


class RotaryFactors(TunableKernel[Rotation]):
    name = "rotary_factors"
    problem_type = Rotation
    sources = (_rotary_factors_kernel,)
    dependent = True
    knobs = (Knob("TOKENS", (1, 2, 4, 8)), Knob("num_warps", (1, 2, 4)), Knob("launch_pdl", (False, True)))
    examples = (Rotation(64, 128, "bfloat16"),)

    def problems(self, model: ModelShape) -> Iterator[Rotation]:
        width = model.head_dim if model.latent is None else model.latent.rotary_dim
        for tokens in model.rows:
            yield Rotation(tokens, width, model.dtype)

    def heuristic(self, problem: Rotation, device: Device) -> Config:
        return Config(TOKENS=1 if problem.tokens < 8 * device.multiprocessors else 4, num_warps=1, launch_pdl=False)

    def inputs(self, problem: Rotation, draw: Draw) -> Inputs:
        half = problem.rotary_dim // 2
        frequencies = 10000.0 ** -(torch.arange(half, device=draw.device) / half)
        return draw.integers(0, 131072, problem.tokens), frequencies, named_dtype(problem.dtype), 1.25

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return rotary_factors(*inputs, schedules=schedules)

    def reference(self, inputs: Inputs) -> Outputs:
        return rotary_factors_reference(*inputs)

    def exact(self, inputs: Inputs) -> Outputs:
        positions, frequencies, _, magnitude = inputs
        # Of the angles as they are in float32: far positions are what models were trained with, to the last bit.
        angles = (positions[:, None].float() * frequencies).double()
        cos, sin = angles.cos() * magnitude, angles.sin() * magnitude
        return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)

    def work(self, problem: Rotation) -> Work:
        width = 2 * problem.rotary_dim * named_dtype(problem.dtype).itemsize
        return Work(nbytes=problem.tokens * (width + 8) + 2 * problem.rotary_dim)


ROTARY_FACTORS = RotaryFactors()
