"""The two products of a routed feed-forward, as launchers and as what a tuner must know of them.

`grouped_matmul` holds the kernel. Problems are of a router that chooses each expert as often: another touches fewer
experts, each with more rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm, linear

from neokernels.cuda.experts.expert_sort import TILE_ROWS, ByExpert, expert_ids, most_tiles, sort_by_expert_reference
from neokernels.cuda.experts.expert_weights import StackedWeight, bytes_per_number, in_panels, stacked
from neokernels.cuda.experts.grouped_matmul import (
    Rows,
    down_product,
    finished,
    gate_up_product,
    grouped_matmul_kernel,
    product,
    weight_tile,
)
from neokernels.cuda.projections.fp4_decode import fp4_weights
from neokernels.cuda.projections.tiles import describable, load_tile, tile_of
from neokernels.cuda.rows.silu_mul import GPT_OSS_CLAMP, gated
from neokernels.device import Device
from neokernels.formats import fp8
from neokernels.formats.fp4_panels import PANEL
from neokernels.silu_mul import SwigluClamp, clamped_swiglu_reference, silu_mul_reference
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype

_TENSOR_CORE_ROWS = 64
"""Least rows of a left operand that whole groups of warps multiply."""
_RESERVED_SHARED = 2048
"""Bytes for barriers, and what the driver keeps."""


@dataclass(frozen=True)
class ExpertProduct(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    experts: int
    experts_per_token: int
    hidden: int
    intermediate: int
    dtype: str
    weight_format: str = "dense"
    clamped: bool = False
    """Whether the activation is gpt-oss's."""
    bias: bool = False

    @property
    def pairs(self) -> int:
        return self.rows * self.experts_per_token

    @property
    def weight_bytes(self) -> float:
        """Of a number."""
        return bytes_per_number(self.weight_format, named_dtype(self.dtype))

    @property
    def activation_bytes(self) -> int:
        """Of a number, as it is multiplied."""
        return 1 if self.weight_format == "fp8" else named_dtype(self.dtype).itemsize

    @property
    def touched(self) -> float:
        """How many experts have rows, on average."""
        return self.experts * (1 - (1 - self.experts_per_token / self.experts) ** self.rows)


def multiply_gate_up(
    x: Rows,
    weight: StackedWeight,
    by_expert: ByExpert,
    per_row: int,
    clamp: SwigluClamp | None,
    *,
    schedules: Schedules,
) -> Tensor:
    """As `gate_up_product`, with the schedule of its problem."""
    problem = _problem(weight, by_expert, per_row, (weight.inputs, weight.outputs // 2), clamp is not None)
    return gate_up_product(schedules.config(GATE_UP_PRODUCT, problem), x, weight, by_expert, per_row, clamp)


def multiply_down(x: Rows, weight: StackedWeight, by_expert: ByExpert, per_row: int, *, schedules: Schedules) -> Tensor:
    """As `down_product`, with the schedule of its problem."""
    problem = _problem(weight, by_expert, per_row, (weight.outputs, weight.inputs), False)
    return down_product(schedules.config(DOWN_PRODUCT, problem), x, weight, by_expert, per_row)


def _problem(
    weight: StackedWeight, by_expert: ByExpert, per_row: int, widths: tuple[int, int], clamped: bool
) -> ExpertProduct:
    rows, dtype = len(by_expert.order) // per_row, dtype_name(weight.dtype)
    return ExpertProduct(rows, weight.experts, per_row, *widths, dtype, weight.format, clamped, weight.bias is not None)


class _ExpertProduct(TunableKernel[ExpertProduct]):
    problem_type = ExpertProduct
    sources = (grouped_matmul_kernel, weight_tile, product, finished, gated, fp4_weights, load_tile, tile_of)
    knobs = (
        Knob("BLOCK_M", TILE_ROWS),
        Knob("BLOCK_N", (32, 64, 128, 256)),
        Knob("BLOCK_K", (32, 64, 128, 256)),
        Knob("GROUP_M", (1, 4, 16)),
        Knob("SWAP", (False, True)),
        Knob("DESCRIPTORS", (False, True)),
        Knob("num_warps", (4, 8)),
        Knob("num_stages", (2, 3, 4, 5, 6)),
        Knob("launch_pdl", (False, True)),
    )
    projections: ClassVar[int]
    """1, or 2 where gate and up are multiplied side by side."""

    def problems(self, model: ModelShape) -> Iterator[ExpertProduct]:
        if (routed := model.routed) is None:
            return
        experts = routed.experts, routed.experts_per_token, model.hidden, routed.intermediate
        clamped = routed.clamped and self.projections == 2
        for rows in model.rows:
            yield ExpertProduct(rows, *experts, model.dtype, model.weight_format, clamped, routed.bias)

    def heuristic(self, problem: ExpertProduct, device: Device) -> Config:
        expected = problem.pairs / problem.touched
        # Half as many again as an expert has on average: rarely does one need a second tile.
        block_m = next((rows for rows in TILE_ROWS if rows >= 1.5 * expected), TILE_ROWS[-1])
        widened = problem.weight_format in ("int8", "mxfp4", "nvfp4")
        few = block_m < _TENSOR_CORE_ROWS
        # Where widening takes no registers from the tensor cores, twice as many outputs take a fifth fewer instructions
        # each, and the scales of MXFP4's are enough for every thread to copy some.
        narrow = 128 if device.capability >= 100 else 64
        columns = (narrow if widened else 128 // self.projections) if few else 256 // self.projections
        # Widening takes registers, and so does joining short sums, as Hopper's of eight bits are.
        if widened or (problem.weight_format == "fp8" and device.capability < 100):
            columns = min(columns, 128)
        if problem.dtype == "float32" and not widened:
            columns //= 4  # no tensor cores multiply these, and what others keep in them is in registers
        inputs = PANEL if widened else (256 if few else 128) // problem.activation_bytes
        stage = inputs * (block_m * problem.activation_bytes + columns * self.projections * problem.weight_bytes)
        # With few rows two programs share a multiprocessor, so that the memory always has one's reads to answer.
        room = device.shared_bytes // (2 if few else 1) - _RESERVED_SHARED
        return Config(
            BLOCK_M=block_m,
            BLOCK_N=columns,
            BLOCK_K=inputs,
            GROUP_M=1,
            SWAP=few or widened,
            DESCRIPTORS=describable(device, self.row_bytes(problem)),
            num_warps=4 if few else 8,
            num_stages=max(2, min(3 if widened and not few else 4, int(room / stage))),
            launch_pdl=False,
        )

    def shipped(self, problem: ExpertProduct, device: Device) -> tuple[Config, ...]:
        config = self.heuristic(problem.bucket(), device)
        return (config, config.changed(launch_pdl=True)) if problem == self.examples[0] else (config,)

    def expects(self, problem: ExpertProduct, config: Config, device: Device) -> tuple[str, ...]:
        left = config.number("BLOCK_N" if config["SWAP"] else "BLOCK_M")
        products = device.wide_products if left >= _TENSOR_CORE_ROWS and problem.dtype != "float32" else ()
        return (*products, "cp.async.bulk.tensor") if config["DESCRIPTORS"] else products

    def makes_sense(self, problem: ExpertProduct, config: Config, device: Device) -> bool:
        copies = not config["DESCRIPTORS"] or describable(device, self.row_bytes(problem))
        panels = not in_panels(problem.weight_format) or config["BLOCK_K"] == PANEL
        block_m, block_n = config.number("BLOCK_M"), config.number("BLOCK_N")
        sums = block_m * block_n * self.projections / (32 * config.number("num_warps"))
        empty = block_m > TILE_ROWS[0] and block_m > 8 * problem.pairs / problem.touched
        return copies and panels and 2 <= sums <= 128 and not empty

    def row_bytes(self, problem: ExpertProduct) -> int:
        """Of a weight, as it lies."""
        return PANEL // 2 if in_panels(problem.weight_format) else int(self.widths(problem)[0] * problem.weight_bytes)

    def widths(self, problem: ExpertProduct) -> tuple[int, int]:
        """Inputs and outputs of one expert's weight."""
        if self.projections == 2:
            return problem.hidden, 2 * problem.intermediate
        return problem.intermediate, problem.hidden

    def inputs(self, problem: ExpertProduct, draw: Draw) -> Inputs:
        """x, the weight, ids, their order, clamp."""
        inputs, outputs = self.widths(problem)
        dtype, experts = named_dtype(problem.dtype), problem.experts
        ids = expert_ids(draw, problem.rows, experts, problem.experts_per_token)
        x = draw.normal(problem.rows if self.projections == 2 else problem.pairs, inputs, dtype=dtype)
        bias = draw.normal(experts, outputs, dtype=dtype) if problem.bias else None
        weight = torch.empty((experts, outputs, inputs), dtype=dtype, device=draw.device)
        if draw.only_shapes:
            tiles = most_tiles(problem.pairs, experts, TILE_ROWS[0])
            maps = ids.new_empty((len(TILE_ROWS), tiles, 4), dtype=torch.int32)
            by_expert = ByExpert(ids.new_empty(problem.pairs, dtype=torch.int32), maps)
        else:
            by_expert = sort_by_expert_reference(ids, experts)
            for expert in weight:  # in float32, where they are drawn, all of them may not fit
                expert.copy_(draw.normal(outputs, inputs, dtype=dtype, scale=inputs**-0.5))
        rows = fp8.quantise_activations(x) if problem.weight_format == "fp8" else x
        return (
            rows,
            stacked(problem.weight_format, weight, bias),
            ids,
            by_expert,
            GPT_OSS_CLAMP if problem.clamped else None,
        )

    def reference(self, inputs: Inputs) -> Outputs:
        return (self._by_loop(inputs, torch.float32).to(inputs[1].dtype),)

    def exact(self, inputs: Inputs) -> Outputs:
        return (self._by_loop(inputs, torch.float64),)

    def library(self, inputs: Inputs) -> Outputs | None:
        x, weight, ids, by_expert, clamp = inputs
        if weight.format != "dense" or weight.bias is not None or clamp is not None:
            return None
        order, numbers = by_expert.order, torch.arange(weight.experts, device=ids.device)
        ends = torch.searchsorted(ids.flatten()[order], numbers, right=True, out_int32=True)
        values = weight.values.view(weight.experts, weight.outputs, weight.inputs)
        y = grouped_mm(x[order // ids.shape[1]] if self.projections == 2 else x, values.transpose(1, 2), offs=ends)
        return (
            silu_mul_reference(y) if self.projections == 2 else torch.empty_like(y).index_copy_(0, order.long(), y),
        )

    def _by_loop(self, inputs: Inputs, dtype: torch.dtype) -> Tensor:
        x, weight, ids, by_expert, clamp = inputs
        order = by_expert.order.long()
        x = x.to(dtype) if isinstance(x, Tensor) else x.values.to(dtype) * x.scales.to(dtype)
        x, experts = (x[order // ids.shape[1]] if self.projections == 2 else x), ids.flatten()[order]
        y = x.new_empty((len(order), weight.outputs))
        for expert in range(weight.experts):
            mine = experts == expert
            bias = None if weight.bias is None else weight.bias[expert].to(dtype)
            y[mine] = linear(x[mine], weight.expert(expert, dtype), bias)
        if self.projections == 2:
            return silu_mul_reference(y) if clamp is None else clamped_swiglu_reference(y, clamp)
        return torch.empty_like(y).index_copy_(0, order, y)

    def work(self, problem: ExpertProduct) -> Work:
        inputs, outputs = self.widths(problem)
        itemsize = named_dtype(problem.dtype).itemsize
        weight = inputs * outputs * problem.weight_bytes + problem.bias * outputs * itemsize
        rows_in = problem.rows if self.projections == 2 else problem.pairs
        activations = (
            rows_in * inputs * problem.activation_bytes + problem.pairs * outputs // self.projections * itemsize
        )
        return Work(
            nbytes=round(problem.touched * weight) + activations,
            flops=2 * problem.pairs * inputs * outputs,
            flops_dtype="float8_e4m3fn" if problem.weight_format == "fp8" else problem.dtype,
        )


class GateUpProduct(_ExpertProduct):
    name = "expert_gate_up"
    projections = 2
    examples = (
        ExpertProduct(64, 128, 8, 2048, 768, "bfloat16"),
        ExpertProduct(8192, 128, 8, 2048, 768, "bfloat16"),
        ExpertProduct(64, 32, 4, 2880, 2880, "bfloat16", "mxfp4", clamped=True, bias=True),
        ExpertProduct(8192, 256, 8, 7168, 2048, "bfloat16", "fp8"),
    )

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        x, weight, ids, by_expert, clamp = inputs
        return (multiply_gate_up(x, weight, by_expert, ids.shape[1], clamp, schedules=schedules),)


class DownProduct(_ExpertProduct):
    name = "expert_down"
    projections = 1
    examples = (
        ExpertProduct(64, 128, 8, 2048, 768, "bfloat16"),
        ExpertProduct(2048, 32, 4, 2880, 2880, "bfloat16", "mxfp4", bias=True),
        ExpertProduct(8192, 256, 8, 7168, 2048, "bfloat16"),
    )

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        x, weight, ids, by_expert, _ = inputs
        return (multiply_down(x, weight, by_expert, ids.shape[1], schedules=schedules),)


GATE_UP_PRODUCT = GateUpProduct()
DOWN_PRODUCT = DownProduct()
