"""The softmax router: from the logits of experts to the few that a row goes to and their weights, in one launch.

A program keeps the logits of its rows in registers and takes the largest k times over, each time by one reduction that
carries the expert along. What is moved is a kilobyte a row at most: the bound is the latency of a launch, which a
softmax, a top-k, a sum and a division pay one by one.

Of equal logits the lower expert goes first, where torch's topk promises nothing. NaN counts as the largest, as it does
for torch. The formula is that of `neokernels.moe`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels import moe
from neokernels.device import Device
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype

LARGEST = tl.constexpr(3.4028234663852886e38)
"""The largest finite float32: as what NaN takes part in a choice."""


@triton.jit(do_not_specialize=["rows"])
def _route_softmax_kernel(
    logits_ptr,
    ids_ptr,
    weights_ptr,
    rows,
    EXPERTS: tl.constexpr,
    CHOSEN: tl.constexpr,
    NORMALISE: tl.constexpr,
    BLOCK: tl.constexpr,
    CHOSEN_BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]).to(tl.int64)
    expert = tl.arange(0, BLOCK)[None, :]
    logits = tl.load(logits_ptr + row * EXPERTS + expert, (row < rows) & (expert < EXPERTS), other=0.0).to(tl.float32)
    logits = tl.where(expert < EXPERTS, logits, -float("inf"))
    highest = tl.max(logits, 1, keep_dims=True)
    total = tl.sum(tl.exp(logits - highest), 1, keep_dims=True)
    left = tl.where(logits != logits, LARGEST, logits)
    place = tl.arange(0, CHOSEN_BLOCK)[None, :]
    ids = tl.zeros([ROWS, CHOSEN_BLOCK], tl.int32)
    values = tl.full([ROWS, CHOSEN_BLOCK], -float("inf"), tl.float32)
    for j in tl.static_range(CHOSEN):
        value, chosen = tl.max(left, 1, return_indices=True, keep_dims=True)
        left = tl.where(expert == chosen, -float("inf"), left)
        ids = tl.where(place == j, chosen, ids)
        values = tl.where(place == j, value, values)
    weights = tl.exp(values - highest) / total
    if NORMALISE:
        weights = weights / tl.sum(weights, 1, keep_dims=True)
    at = row * CHOSEN + place
    inside = (row < rows) & (place < CHOSEN)
    tl.store(ids_ptr + at, ids.to(tl.int64), inside)
    tl.store(weights_ptr + at, weights, inside)


@dataclass(frozen=True)
class Routing(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    experts: int
    chosen: int
    dtype: str
    """Of logits."""
    groups: int = 1
    """Of which half are chosen, where they are drawn."""


def route_softmax(
    logits: Tensor, experts_per_token: int, normalise: bool, *, schedules: Schedules
) -> tuple[Tensor, Tensor]:
    """As `neokernels.moe.route_softmax_reference`."""
    rows, experts = logits.shape
    ids, weights = routing_results(logits, experts_per_token)
    if rows:
        config = schedules.config(ROUTE_SOFTMAX, Routing(rows, experts, experts_per_token, dtype_name(logits.dtype)))
        _route_softmax_kernel[(triton.cdiv(rows, config.number("ROWS")),)](
            logits.contiguous(),
            ids,
            weights,
            rows,
            EXPERTS=experts,
            CHOSEN=experts_per_token,
            NORMALISE=normalise,
            BLOCK=triton.next_power_of_2(experts),
            CHOSEN_BLOCK=triton.next_power_of_2(experts_per_token),
            WAITS=config.waits,
            **config.constants,
            **config.options,
        )
    return ids, weights


def routing_results(logits: Tensor, experts_per_token: int) -> tuple[Tensor, Tensor]:
    """Room for the ids and the weights of each row."""
    shape = (len(logits), experts_per_token)
    return logits.new_empty(shape, dtype=torch.int64), logits.new_empty(shape, dtype=torch.float32)


class Router(TunableKernel[Routing]):
    """What both routers have in common."""

    problem_type = Routing
    dependent = True

    def work(self, problem: Routing) -> Work:
        chosen = problem.chosen * (torch.int64.itemsize + torch.float32.itemsize)
        return Work(nbytes=problem.rows * (problem.experts * named_dtype(problem.dtype).itemsize + chosen))


class RouteSoftmax(Router):
    name = "route_softmax"
    sources = (_route_softmax_kernel,)
    knobs = (Knob("ROWS", (1, 2, 4, 8, 16)), Knob("num_warps", (1, 2, 4)), Knob("launch_pdl", (False, True)))
    examples = (Routing(64, 128, 8, "bfloat16"), Routing(8192, 32, 4, "bfloat16"))

    def problems(self, model: ModelShape) -> Iterator[Routing]:
        if (routed := model.routed) and routed.groups == 1:
            for rows in model.rows:
                yield Routing(rows, routed.experts, routed.experts_per_token, model.dtype)

    def heuristic(self, problem: Routing, device: Device) -> Config:
        # Sixteen logits a thread at most, and a warp a row where rows are few.
        rows = 1 if problem.rows < 4 * device.multiprocessors else max(1, min(8, 512 // problem.experts))
        return Config(ROWS=rows, num_warps=1, launch_pdl=False)

    def inputs(self, problem: Routing, draw: Draw) -> Inputs:
        logits = draw.normal(problem.rows, problem.experts, dtype=named_dtype(problem.dtype), scale=3.0)
        return logits, problem.chosen, True

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return route_softmax(*inputs, schedules=schedules)

    def reference(self, inputs: Inputs) -> Outputs:
        return moe.route_softmax_reference(*inputs)

    def exact(self, inputs: Inputs) -> Outputs:
        logits, chosen, normalise = inputs
        values, ids = (part[:, :chosen] for part in logits.double().sort(dim=1, descending=True, stable=True))
        weights = (values - logits.double().logsumexp(1, keepdim=True)).exp()
        return ids, weights / weights.sum(1, keepdim=True) if normalise else weights


ROUTE_SOFTMAX = RouteSoftmax()
