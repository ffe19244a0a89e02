"""DeepSeek-V3's router of groups in one launch: a program keeps one row's logits in registers, a line a group.

Groups are chosen as `routing` chooses experts, and then experts from these groups. Of equal s + b the lower expert goes
first, where torch's topk promises nothing; NaN counts as the largest, as it does for torch. The formula is that of
`neokernels.grouped_routing`; the bound is the latency of a launch, once instead of a dozen times.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels import grouped_routing as operation
from neokernels.cuda.experts.routing import LARGEST, Router, Routing, routing_results
from neokernels.device import Device
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, dtype_name, named_dtype


@triton.jit
def _route_grouped_kernel(
    logits_ptr,
    bias_ptr,
    ids_ptr,
    weights_ptr,
    scaling,
    GROUPS: tl.constexpr,
    SIZE: tl.constexpr,
    GROUPS_CHOSEN: tl.constexpr,
    CHOSEN: tl.constexpr,
    NORMALISE: tl.constexpr,
    GROUPS_BLOCK: tl.constexpr,
    SIZE_BLOCK: tl.constexpr,
    CHOSEN_BLOCK: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    row = tl.program_id(0).to(tl.int64)
    group = tl.arange(0, GROUPS_BLOCK)[:, None]
    member = tl.arange(0, SIZE_BLOCK)[None, :]
    inside = (group < GROUPS) & (member < SIZE)
    expert = group * SIZE + member
    logits = tl.load(logits_ptr + row * (GROUPS * SIZE) + expert, inside, other=0.0).to(tl.float32)
    scores = 1 / (1 + tl.exp(-logits))
    choice = scores + tl.load(bias_ptr + expert, inside, other=0.0)
    choice = tl.where(choice != choice, LARGEST, choice)
    choice = tl.where(inside, choice, -float("inf"))

    first, best = tl.max(choice, 1, return_indices=True, keep_dims=True)
    second = tl.max(tl.where(member == best, -float("inf"), choice), 1, keep_dims=True)
    # Groups that do not exist must not add up to less than any number can be told from.
    both = tl.where(group < GROUPS, first + second, -float("inf"))
    allowed = group < 0
    for _ in tl.static_range(GROUPS_CHOSEN):
        _, chosen = tl.max(both, 0, return_indices=True, keep_dims=True)
        allowed = allowed | (group == chosen)
        both = tl.where(group == chosen, -float("inf"), both)

    left = tl.reshape(tl.where(allowed, choice, -float("inf")), [GROUPS_BLOCK * SIZE_BLOCK])
    scores = tl.reshape(scores, [GROUPS_BLOCK * SIZE_BLOCK])
    slot = tl.arange(0, GROUPS_BLOCK * SIZE_BLOCK)
    place = tl.arange(0, CHOSEN_BLOCK)
    ids = tl.zeros([CHOSEN_BLOCK], tl.int32)
    weights = tl.zeros([CHOSEN_BLOCK], tl.float32)
    for j in tl.static_range(CHOSEN):
        chosen = tl.argmax(left, 0)
        left = tl.where(slot == chosen, -float("inf"), left)
        weight = tl.sum(tl.where(slot == chosen, scores, 0.0))
        ids = tl.where(place == j, (chosen // SIZE_BLOCK) * SIZE + chosen % SIZE_BLOCK, ids)
        weights = tl.where(place == j, weight, weights)
    if NORMALISE:
        weights = weights / (tl.sum(weights) + 1e-20)
    tl.store(ids_ptr + row * CHOSEN + place, ids.to(tl.int64), place < CHOSEN)
    tl.store(weights_ptr + row * CHOSEN + place, weights * scaling, place < CHOSEN)


def route_grouped(
    logits: Tensor,
    bias: Tensor,
    experts_per_token: int,
    groups: int,
    groups_per_token: int,
    normalise: bool,
    scaling: float,
    *,
    schedules: Schedules,
) -> tuple[Tensor, Tensor]:
    """As `neokernels.grouped_routing.route_grouped_reference`."""
    rows, experts = logits.shape
    ids, weights = routing_results(logits, experts_per_token)
    if rows:
        problem = Routing(rows, experts, experts_per_token, dtype_name(logits.dtype), groups)
        config = schedules.config(ROUTE_GROUPED, problem)
        _route_grouped_kernel[(rows,)](
            logits.contiguous(),
            bias,
            ids,
            weights,
            scaling,
            GROUPS=groups,
            SIZE=experts // groups,
            GROUPS_CHOSEN=groups_per_token,
            CHOSEN=experts_per_token,
            NORMALISE=normalise,
            GROUPS_BLOCK=triton.next_power_of_2(groups),
            SIZE_BLOCK=triton.next_power_of_2(experts // groups),
            CHOSEN_BLOCK=triton.next_power_of_2(experts_per_token),
            WAITS=config.waits,
            **config.constants,
            **config.options,
        )
    return ids, weights


class RouteGrouped(Router):
    name = "route_grouped"
    sources = (_route_grouped_kernel,)
    knobs = (Knob("num_warps", (1, 2, 4)), Knob("launch_pdl", (False, True)))
    examples = (Routing(64, 256, 8, "float32", groups=8),)

    def problems(self, model: ModelShape) -> Iterator[Routing]:
        if (routed := model.routed) and routed.groups > 1:
            for rows in model.rows:
                yield Routing(rows, routed.experts, routed.experts_per_token, "float32", routed.groups)

    def heuristic(self, problem: Routing, device: Device) -> Config:
        return Config(num_warps=1, launch_pdl=False)

    def inputs(self, problem: Routing, draw: Draw) -> Inputs:
        logits = draw.normal(problem.rows, problem.experts, dtype=named_dtype(problem.dtype))
        bias = draw.normal(problem.experts, dtype=torch.float32, scale=0.1)
        return logits, bias, problem.chosen, problem.groups, (problem.groups + 1) // 2, True, 2.5

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return route_grouped(*inputs, schedules=schedules)

    def reference(self, inputs: Inputs) -> Outputs:
        return operation.route_grouped_reference(*inputs)

    def exact(self, inputs: Inputs) -> Outputs:
        logits, bias, chosen, groups, groups_chosen, normalise, scaling = inputs
        scores = logits.double().sigmoid()
        choice = (scores + bias.double()).view(len(logits), groups, logits.shape[1] // groups)
        best = choice.sort(dim=2, descending=True).values[..., :2].sum(2)
        rank = best.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        choice = choice.masked_fill((rank >= groups_chosen)[..., None], -torch.inf).flatten(1)
        ids = choice.argsort(dim=1, descending=True, stable=True)[:, :chosen]
        weights = scores.gather(1, ids)
        return ids, (weights / weights.sum(1, keepdim=True) if normalise else weights) * scaling


ROUTE_GROUPED = RouteGrouped()
