"""The experts of a layer in a few launches, none of which waits for the host: sort, gate and up, down, sum.

Where weights are kept in fp8, rows are quantised before either product.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from neokernels.cuda.experts.expert_products import multiply_down, multiply_gate_up
from neokernels.cuda.experts.expert_sort import sort_by_expert
from neokernels.cuda.experts.expert_sum import sum_by_weight
from neokernels.cuda.experts.expert_weights import stacked
from neokernels.cuda.experts.grouped_matmul import Rows
from neokernels.cuda.rows.quantise_rows import quantise_fp8
from neokernels.moe import ExpertWeights, GatedActivation, PrepareLinear
from neokernels.tuning.schedules import Schedules


class TritonExperts:
    """Weights are read once for each tile of rows that an expert has, and not at all where it has none."""

    def __init__(
        self,
        weight_format: str,
        weights: ExpertWeights,
        activate: GatedActivation,
        prepare: PrepareLinear,
        *,
        schedules: Schedules,
    ) -> None:
        """As `ExpertLoop`. Raises NotFiniteError where weights are quantised."""
        self._gate_up = stacked(weight_format, weights.gate_up, weights.gate_up_bias)
        self._down = stacked(weight_format, weights.down, weights.down_bias)
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
        rows = self._readable(x.contiguous())
        inner = multiply_gate_up(rows, self._gate_up, by_expert, per_row, self._clamp, schedules=schedules)
        answers = multiply_down(self._readable(inner), self._down, by_expert, per_row, schedules=schedules)
        return sum_by_weight(answers, expert_ids, weights.float(), schedules=schedules)

    def _readable(self, x: Tensor) -> Rows:
        return quantise_fp8(x, schedules=self._schedules) if self._down.format == "fp8" else x


dense_experts = partial(TritonExperts, "dense")
int8_experts = partial(TritonExperts, "int8")
fp8_experts = partial(TritonExperts, "fp8")
mxfp4_experts = partial(TritonExperts, "mxfp4")
nvfp4_experts = partial(TritonExperts, "nvfp4")
