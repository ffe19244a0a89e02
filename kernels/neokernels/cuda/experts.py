"""The experts of a layer in four launches, none of which waits for the host: sort, gate and up, down, sum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from neokernels.cuda import expert_weights
from neokernels.cuda.expert_products import multiply_down, multiply_gate_up
from neokernels.cuda.expert_sort import sort_by_expert
from neokernels.cuda.expert_sum import sum_by_weight
from neokernels.cuda.expert_weights import StackedWeight
from neokernels.moe import ExpertWeights, GatedActivation, PrepareLinear
from neokernels.tuning.schedules import Schedules


class TritonExperts:
    """Weights are read once for each tile of rows that an expert has, and not at all where it has none."""

    def __init__(
        self,
        weights: ExpertWeights,
        activate: GatedActivation,
        prepare: PrepareLinear,
        *,
        stack: Callable[[Tensor, Tensor | None], StackedWeight],
        schedules: Schedules,
    ) -> None:
        """As `ExpertLoop`; `stack` makes of a projection and its biases what the kernels read."""
        self._gate_up = stack(weights.gate_up, weights.gate_up_bias)
        self._down = stack(weights.down, weights.down_bias)
        self._clamp = activate.clamp
        self._schedules = schedules
        self.nbytes = self._gate_up.nbytes + self._down.nbytes
        self.bytes_per_expert = self.nbytes // self._down.experts
        self.touched = torch.zeros((), dtype=torch.int64, device=weights.down.device)

    def __call__(self, x: Tensor, expert_ids: Tensor, weights: Tensor) -> Tensor:
        if not len(x):
            return torch.zeros_like(x)
        per_row, schedules = expert_ids.shape[1], self._schedules
        by_expert = sort_by_expert(expert_ids, self._down.experts, self.touched, schedules=schedules)
        x = x.contiguous()
        inner = multiply_gate_up(x, self._gate_up, by_expert, per_row, self._clamp, schedules=schedules)
        answers = multiply_down(inner, self._down, by_expert, per_row, schedules=schedules)
        return sum_by_weight(answers, expert_ids, weights.float(), schedules=schedules)


def dense_experts(
    weights: ExpertWeights, activate: GatedActivation, prepare: PrepareLinear, *, schedules: Schedules
) -> TritonExperts:
    """Weights as they are."""
    return TritonExperts(weights, activate, prepare, stack=expert_weights.dense, schedules=schedules)


def mxfp4_experts(
    weights: ExpertWeights, activate: GatedActivation, prepare: PrepareLinear, *, schedules: Schedules
) -> TritonExperts:
    """Weights in MXFP4, multiplied with activations as they are. Raises NotFiniteError."""
    return TritonExperts(weights, activate, prepare, stack=expert_weights.in_mxfp4, schedules=schedules)
