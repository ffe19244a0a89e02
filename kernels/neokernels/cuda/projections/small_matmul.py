"""x Wᵀ + b for few rows: as many bytes of W under way at once as the memory needs, the sum over K split among programs.

Nothing but reading W takes time, so programs are as many as read it at full speed: where W has too few outputs for
that, several share a tile of them, each with a part of K. They leave their sums in float32, and whoever ends last adds
them up in the order of the parts: the bits depend on nothing that happens. Tensor cores take 64 rows or more on their
left and 8 or more on their right, so the operands are swapped: W stands left and x right. Bound: the bytes of W.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import triton
import triton.language as tl
from torch import Tensor

from neokernels.cuda.projections.matmul import Matmul, arithmetic, finished
from neokernels.cuda.projections.products import FEW_ROWS, Product, has_descriptors, sums_twice
from neokernels.cuda.projections.split_sum import leave_part, no_arrivals, room_for_parts, sum_of_parts
from neokernels.cuda.projections.tiles import COPY_BYTES, described, load_tile, readable, store_tile
from neokernels.device import Device
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, dtype_name, named_dtype

_LEAST_STEPS = 8
"""Steps along K that are worth a program of their own."""


@triton.jit(do_not_specialize=["rows"])
def small_matmul_kernel(
    x,
    weight,
    bias_ptr,
    x_scales_ptr,
    weight_scales_ptr,
    y,
    parts_ptr,
    arrivals_ptr,
    rows,
    outputs,
    inputs,
    x_stride,
    weight_stride,
    y_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLITS: tl.constexpr,
    SWAP: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
    PRECISION: tl.constexpr,
    PROMOTE: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
        # What depends on this kernel waits for its end itself.
        tl.extra.cuda.gdc_launch_dependents()
    part = tl.program_id(0)
    tile = tl.program_id(1) * tl.num_programs(2) + tl.program_id(2)
    at_n = tl.program_id(1) * BLOCK_N
    at_m = tl.program_id(2) * BLOCK_M
    steps = tl.cdiv(inputs, BLOCK_K)
    steps_of_part = tl.cdiv(steps, SPLITS)
    first = part * steps_of_part
    SHAPE: tl.constexpr = (BLOCK_N, BLOCK_M) if SWAP else (BLOCK_M, BLOCK_N)
    total = tl.zeros(SHAPE, tl.float32)
    for step in range(first, tl.minimum(first + steps_of_part, steps)):
        at_k = step * BLOCK_K
        w_tile = load_tile(weight, at_n, at_k, outputs, inputs, weight_stride, BLOCK_N, BLOCK_K, DESCRIPTORS)
        x_tile = load_tile(x, at_m, at_k, rows, inputs, x_stride, BLOCK_M, BLOCK_K, DESCRIPTORS)
        if SWAP:
            total = tl.dot(w_tile, x_tile.T, total, input_precision=PRECISION, max_num_imprecise_acc=PROMOTE)
        else:
            total = tl.dot(x_tile, w_tile.T, total, input_precision=PRECISION, max_num_imprecise_acc=PROMOTE)
    last = True
    if SPLITS > 1:
        last = leave_part(total, parts_ptr, arrivals_ptr, tile, part, SPLITS)
    if last:
        if SPLITS > 1:
            total = sum_of_parts(parts_ptr, arrivals_ptr, tile, SPLITS, SHAPE[0], SHAPE[1])
        sums = total.T if SWAP else total
        sums = finished(sums, bias_ptr, x_scales_ptr, weight_scales_ptr, at_m, at_n, rows, outputs)
        store_tile(y, sums, at_m, at_n, rows, outputs, y_stride, BLOCK_M, BLOCK_N, False)


@dataclass(frozen=True)
class SmallProduct(Product):
    batch_fields: ClassVar = {"rows": FEW_ROWS}


def small_matmul(x: Tensor, weight: Tensor, bias: Tensor | None, arrivals: Tensor, *, schedules: Schedules) -> Tensor:
    """x Wᵀ + b: x [T, K] of some 64 rows at most, weight [N, K], bias [N] or None, all of one dtype; returns [T, N].

    `arrivals` is of `split_sum.no_arrivals`.
    """
    y = x.new_empty((x.shape[0], weight.shape[0]))
    if y.numel():
        problem = SmallProduct(x.shape[0], weight.shape[0], x.shape[1], dtype_name(x.dtype), bias is not None)
        launch(schedules.config(SMALL_MATMUL, problem), x, weight, bias, arrivals, y)
    return y


def launch(
    config: Config,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    arrivals: Tensor,
    y: Tensor,
    x_scales: Tensor | None = None,
    weight_scales: Tensor | None = None,
) -> None:
    """Fill y [T, N], where neither is 0. The scales, contiguous, are of x's and of the weight's rows."""
    block_m, block_n, block_k = (config.number(f"BLOCK_{dim}") for dim in "MNK")
    descriptors, splits = bool(config["DESCRIPTORS"]), config.number("SPLITS")
    x, weight = readable(x, descriptors), readable(weight, descriptors)
    rows, outputs = y.shape
    tiles_m, tiles_n = triton.cdiv(rows, block_m), triton.cdiv(outputs, block_n)
    small_matmul_kernel[(splits, tiles_n, tiles_m)](
        described(x, block_m, block_k, descriptors),
        described(weight, block_n, block_k, descriptors),
        bias,
        x_scales,
        weight_scales,
        y,
        room_for_parts(config, tiles_m * tiles_n, splits, y.device),
        arrivals,
        rows,
        outputs,
        x.shape[1],
        x.stride(0),
        weight.stride(0),
        y.stride(0),
        WAITS=config.waits,
        **arithmetic(x.dtype, block_k),
        **config.constants,
        **config.options,
    )


KNOBS = (
    Knob("BLOCK_M", (16, 32, 64)),
    Knob("BLOCK_N", (32, 64, 128)),
    Knob("BLOCK_K", (64, 128, 256)),
    Knob("SPLITS", (1, 2, 3, 4, 6, 8, 12, 16)),
    Knob("SWAP", (False, True)),
    Knob("DESCRIPTORS", (False, True)),
    Knob("num_warps", (2, 4, 8)),
    Knob("num_stages", (2, 3, 4, 5, 6, 8)),
    Knob("launch_pdl", (False, True)),
)


def schedule(problem: Product, device: Device, itemsize: int) -> Config:
    """Up to two programs a multiprocessor, all at once if there is a way, each with some 50 KiB of W under way;
    `itemsize`: of what is multiplied."""
    block_m = max(16, min(64, triton.next_power_of_2(problem.rows)))
    block_n, block_k = (64, 128 // itemsize) if itemsize < 4 else (32, 32)
    if problem.inputs * itemsize % COPY_BYTES:  # rows that begin anywhere are read number by number
        block_k = 32
    room, tiles_m = 2 * device.multiprocessors, triton.cdiv(problem.rows, block_m)
    if triton.cdiv(problem.outputs, block_n) * tiles_m > room and not sums_twice(device, itemsize):
        # Those that the first programs leave over would read the rest of W at a fraction of the memory's speed.
        block_n *= 2
    tiles = triton.cdiv(problem.outputs, block_n) * tiles_m
    steps = triton.cdiv(problem.inputs, block_k)
    splits = max(1, min(room // tiles, steps // _LEAST_STEPS, 16))
    stage = (block_m + block_n) * block_k * itemsize
    return Config(
        BLOCK_M=block_m,
        BLOCK_N=block_n,
        BLOCK_K=block_k,
        SPLITS=splits,
        SWAP=itemsize < 4,
        DESCRIPTORS=has_descriptors(problem, device, itemsize),
        num_warps=4 if itemsize < 4 else 8,
        num_stages=max(2, min(8, (device.shared_bytes // 2 - 2048) // stage)),
        launch_pdl=False,
    )


def makes_sense(problem: Product, config: Config, device: Device, itemsize: int) -> bool:
    """Whether there is work for every part, and room for what is under way."""
    block_m, block_n, block_k = (config.number(f"BLOCK_{dim}") for dim in "MNK")
    if config["DESCRIPTORS"] and not has_descriptors(problem, device, itemsize):
        return False
    if block_m > max(16, 2 * problem.rows):
        return False
    steps = triton.cdiv(problem.inputs, block_k)
    held = (block_m + block_n) * block_k * itemsize * (config.number("num_stages") - 1)
    return config.number("SPLITS") <= max(1, steps // 2) and held <= device.shared_bytes


class SmallMatmul(Matmul):
    name = "small_matmul"
    problem_type = SmallProduct
    sources = (small_matmul_kernel, leave_part, sum_of_parts, finished, load_tile, store_tile)
    dependent = True
    knobs = KNOBS
    examples = (
        SmallProduct(1, 4096, 4096, "bfloat16", bias=False),
        SmallProduct(64, 24576, 4096, "bfloat16", bias=True),
        SmallProduct(64, 256, 7168, "float32", bias=False),
    )

    def problems(self, model: ModelShape) -> Iterator[Product]:
        kept = model.projections if model.weight_format == "dense" else ()
        for outputs, inputs in (*kept, *model.dense_projections):
            for rows in model.rows:
                if rows <= FEW_ROWS:
                    yield SmallProduct(rows, outputs, inputs, model.dtype, bias=False)

    def heuristic(self, problem: Product, device: Device) -> Config:
        return schedule(problem, device, named_dtype(problem.dtype).itemsize)

    def makes_sense(self, problem: Product, config: Config, device: Device) -> bool:
        return makes_sense(problem, config, device, named_dtype(problem.dtype).itemsize)

    def inputs(self, problem: Product, draw: Draw) -> Inputs:
        return *super().inputs(problem, draw), no_arrivals(problem.outputs, draw.device)

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (small_matmul(*inputs, schedules=schedules),)


SMALL_MATMUL = SmallMatmul()
