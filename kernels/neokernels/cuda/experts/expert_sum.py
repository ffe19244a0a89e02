"""The answers of a row's experts added up by weight, in the order the router gave them, whatever else is computed.

A program takes some columns of one row and has the answers of all its experts under way at once. Bound: the memory's,
k + 1 rows for each row of the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels.cuda.experts.expert_sort import expert_ids
from neokernels.device import Device
from neokernels.moe import NO_EXPERT
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype

_PER_THREAD = 8
"""Numbers of one load of sixteen bytes of bfloat16."""


@triton.jit
def _expert_sum_kernel(
    answers_ptr,
    ids_ptr,
    weights_ptr,
    out_ptr,
    WIDTH: tl.constexpr,
    EXPERTS_PER_ROW: tl.constexpr,
    BLOCK: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    tiles: tl.constexpr = (WIDTH + BLOCK - 1) // BLOCK
    row = (tl.program_id(0) // tiles).to(tl.int64)
    column = tl.program_id(0) % tiles * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for place in tl.static_range(EXPERTS_PER_ROW):
        pair = row * EXPERTS_PER_ROW + place
        # Who goes nowhere has no answer: what stands there was never written.
        end = tl.where(tl.load(ids_ptr + pair) >= 0, WIDTH, 0)
        answer = tl.load(answers_ptr + pair * WIDTH + column, column < end, other=0.0).to(tl.float32)
        total += tl.where(end > 0, tl.load(weights_ptr + pair), 0.0) * answer
    tl.store(out_ptr + row * WIDTH + column, total.to(out_ptr.dtype.element_ty), column < WIDTH)


@dataclass(frozen=True)
class Summing(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    width: int
    experts_per_token: int
    dtype: str


def sum_by_weight(answers: Tensor, expert_ids: Tensor, weights: Tensor, *, schedules: Schedules) -> Tensor:
    """answers [T·k, H], expert_ids [T, k] int64 with `NO_EXPERT` for none, weights [T, k] float32; returns [T, H]."""
    rows, per_row = expert_ids.shape
    width = answers.shape[1]
    out = answers.new_empty((rows, width))
    if rows:
        config = schedules.config(EXPERT_SUM, Summing(rows, width, per_row, dtype_name(answers.dtype)))
        _expert_sum_kernel[(rows * triton.cdiv(width, config.number("BLOCK")),)](
            answers,
            expert_ids.contiguous(),
            weights.contiguous(),
            out,
            WIDTH=width,
            EXPERTS_PER_ROW=per_row,
            WAITS=config.waits,
            **config.constants,
            **config.options,
        )
    return out


class ExpertSum(TunableKernel[Summing]):
    name = "expert_sum"
    problem_type = Summing
    sources = (_expert_sum_kernel,)
    dependent = True
    knobs = (
        Knob("BLOCK", (256, 512, 1024, 2048, 4096)),
        Knob("num_warps", (1, 2, 4, 8)),
        Knob("launch_pdl", (False, True)),
    )
    examples = (Summing(64, 2048, 8, "bfloat16"), Summing(8192, 2880, 4, "bfloat16"))

    def problems(self, model: ModelShape) -> Iterator[Summing]:
        if model.routed:
            for rows in model.rows:
                yield Summing(rows, model.hidden, model.routed.experts_per_token, model.dtype)

    def heuristic(self, problem: Summing, device: Device) -> Config:
        block = min(1024, max(256, triton.next_power_of_2(problem.width)))
        while block > 256 and problem.rows * triton.cdiv(problem.width, block) < 2 * device.multiprocessors:
            block //= 2
        return Config(BLOCK=block, num_warps=block // (32 * _PER_THREAD), launch_pdl=False)

    def makes_sense(self, problem: Summing, config: Config, device: Device) -> bool:
        return _PER_THREAD <= config.number("BLOCK") // (32 * config.number("num_warps")) <= 4 * _PER_THREAD

    def inputs(self, problem: Summing, draw: Draw) -> Inputs:
        """One of sixteen goes nowhere; what they have for an answer is NaN."""
        rows, per_row = problem.rows, problem.experts_per_token
        answers = draw.normal(rows * per_row, problem.width, dtype=named_dtype(problem.dtype))
        ids = expert_ids(draw, rows, per_row, per_row)
        nowhere = draw.integers(0, 16, rows, per_row) == 0
        weights = draw.normal(rows, per_row, dtype=torch.float32).softmax(1)
        return answers.masked_fill(nowhere.view(-1, 1), torch.nan), ids.masked_fill(nowhere, NO_EXPERT), weights

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (sum_by_weight(*inputs, schedules=schedules),)

    def reference(self, inputs: Inputs) -> Outputs:
        return (_summed(inputs, torch.float32),)

    def exact(self, inputs: Inputs) -> Outputs:
        return (_summed(inputs, torch.float64),)

    def work(self, problem: Summing) -> Work:
        rows = problem.rows * (problem.experts_per_token + 1)
        return Work(nbytes=rows * problem.width * named_dtype(problem.dtype).itemsize)


def _summed(inputs: Inputs, dtype: torch.dtype) -> Tensor:
    answers, ids, weights = inputs
    by_row = answers.to(dtype).view(*ids.shape, answers.shape[1]).masked_fill((ids == NO_EXPERT)[..., None], 0)
    total: Tensor = (by_row * weights.to(dtype)[..., None]).sum(1)
    return total if dtype == torch.float64 else total.to(answers.dtype)


EXPERT_SUM = ExpertSum()
