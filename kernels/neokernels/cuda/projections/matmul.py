"""x Wᵀ + b for many rows: every multiprocessor takes tile after tile, and its tensor cores wait for no memory.

Programs stay: as many as run at once, each going through tiles in an order that shares the second-level cache. Tiles of
x and W come by the hardware's bulk copies (TMA) while earlier ones are multiplied, and the loops over tiles and over K
are one, so that the first copies of a tile run under the end of the one before. Sums are in float32. `fp8_matmul` is
the same kernel with scales behind the sum. Bound: the tensor cores from some 300 rows on; 128 × 256 tiles read 1/85 of
a byte of bfloat16 a FLOP from the cache, which is what keeps them busy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import linear

from neokernels.cuda.projections.products import FEW_ROWS, KNOBS, Product, instructions, makes_sense, schedule
from neokernels.cuda.projections.tiles import described, load_tile, readable, store_tile, tile_of
from neokernels.device import Device
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, TunableKernel, Work, dtype_name, named_dtype


@triton.jit
def finished(total, bias_ptr, x_scales_ptr, weight_scales_ptr, at_m, at_n, rows, outputs):
    """Sums of the tile at (at_m, at_n), with its scales and its bias where there are any."""
    row = at_m + tl.arange(0, total.shape[0])
    column = at_n + tl.arange(0, total.shape[1])
    if x_scales_ptr is not None:
        total *= tl.load(x_scales_ptr + row, row < rows, other=0.0)[:, None]
        total *= tl.load(weight_scales_ptr + column, column < outputs, other=0.0)[None, :]
    if bias_ptr is not None:
        total += tl.load(bias_ptr + column, column < outputs, other=0.0).to(tl.float32)[None, :]
    return total


@triton.jit(do_not_specialize=["rows"])
def matmul_kernel(
    x,
    weight,
    bias_ptr,
    x_scales_ptr,
    weight_scales_ptr,
    y,
    rows,
    outputs,
    inputs,
    x_stride,
    weight_stride,
    y_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    HALVES: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
    WARP_SPECIALISE: tl.constexpr,
    FLATTEN: tl.constexpr,
    PRECISION: tl.constexpr,
    PROMOTE: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
        # What depends on this kernel waits for its end itself.
        tl.extra.cuda.gdc_launch_dependents()
    tiles_m = tl.cdiv(rows, BLOCK_M)
    tiles_n = tl.cdiv(outputs, BLOCK_N)
    steps = tl.cdiv(inputs, BLOCK_K)
    for tile in tl.range(
        tl.program_id(0),
        tiles_m * tiles_n,
        tl.num_programs(0),
        flatten=FLATTEN,
        warp_specialize=WARP_SPECIALISE,
    ):
        tile_m, tile_n = tile_of(tile, tiles_m, tiles_n, GROUP_M)
        at_m = tile_m * BLOCK_M
        at_n = tile_n * BLOCK_N
        total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for step in range(steps):
            at_k = step * BLOCK_K
            x_tile = load_tile(x, at_m, at_k, rows, inputs, x_stride, BLOCK_M, BLOCK_K, DESCRIPTORS)
            w_tile = load_tile(weight, at_n, at_k, outputs, inputs, weight_stride, BLOCK_N, BLOCK_K, DESCRIPTORS)
            total = tl.dot(x_tile, w_tile.T, total, input_precision=PRECISION, max_num_imprecise_acc=PROMOTE)
        if HALVES:
            # What a store holds in shared memory is half of it then, and a further copy finds room.
            left, right = total.reshape(BLOCK_M, 2, BLOCK_N // 2).permute(0, 2, 1).split()
            left = finished(left, bias_ptr, x_scales_ptr, weight_scales_ptr, at_m, at_n, rows, outputs)
            store_tile(y, left, at_m, at_n, rows, outputs, y_stride, BLOCK_M, BLOCK_N // 2, DESCRIPTORS)
            at_n += BLOCK_N // 2
            right = finished(right, bias_ptr, x_scales_ptr, weight_scales_ptr, at_m, at_n, rows, outputs)
            store_tile(y, right, at_m, at_n, rows, outputs, y_stride, BLOCK_M, BLOCK_N // 2, DESCRIPTORS)
        else:
            total = finished(total, bias_ptr, x_scales_ptr, weight_scales_ptr, at_m, at_n, rows, outputs)
            store_tile(y, total, at_m, at_n, rows, outputs, y_stride, BLOCK_M, BLOCK_N, DESCRIPTORS)


def matmul(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, schedules: Schedules) -> Tensor:
    """x Wᵀ + b: x [T, K], weight [N, K], bias [N] or None, all of one dtype; returns [T, N]."""
    y = x.new_empty((x.shape[0], weight.shape[0]))
    if y.numel():
        problem = Product(x.shape[0], weight.shape[0], x.shape[1], dtype_name(x.dtype), bias is not None)
        launch(schedules.config(MATMUL, problem), schedules.device, x, weight, bias, y)
    return y


def launch(
    config: Config,
    device: Device,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    y: Tensor,
    x_scales: Tensor | None = None,
    weight_scales: Tensor | None = None,
) -> None:
    """Fill y [T, N], where neither is 0. The scales, contiguous, are of x's and of the weight's rows."""
    block_m, block_n, block_k = (config.number(f"BLOCK_{dim}") for dim in "MNK")
    descriptors = bool(config["DESCRIPTORS"])
    x, weight = readable(x, descriptors), readable(weight, descriptors)
    rows, outputs = y.shape
    tiles = triton.cdiv(rows, block_m) * triton.cdiv(outputs, block_n)
    matmul_kernel[(min(tiles, config.number("programs") * device.multiprocessors),)](
        described(x, block_m, block_k, descriptors),
        described(weight, block_n, block_k, descriptors),
        bias,
        x_scales,
        weight_scales,
        described(y, block_m, block_n // 2 if config["HALVES"] else block_n, descriptors),
        rows,
        outputs,
        x.shape[1],
        x.stride(0),
        weight.stride(0),
        y.stride(0),
        # Hopper's compiler does not part a loop's warps once it is one with the loop around it.
        FLATTEN=not config["WARP_SPECIALISE"] or device.capability >= 100,
        WAITS=config.waits,
        **arithmetic(x.dtype, block_k),
        **config.constants,
        **config.options,
    )


def arithmetic(dtype: torch.dtype, block_k: int) -> dict[str, Any]:
    """How `tl.dot` multiplies.

    float32 by its own products, as torch does unless told otherwise. Hopper sums products of eight bits with fewer bits
    than a float32 has: at most 128 of them before they join one that has all (DeepSeek-V3, arXiv:2412.19437, §3.3.2).
    """
    return {
        "PRECISION": "ieee" if dtype == torch.float32 else "tf32",
        "PROMOTE": min(block_k, 128) if dtype.itemsize == 1 else 0,
    }


class Matmul(TunableKernel[Product]):
    name = "matmul"
    problem_type = Product
    sources: ClassVar[tuple[Any, ...]] = (matmul_kernel, finished, tile_of, load_tile, store_tile)
    knobs: ClassVar[tuple[Knob, ...]] = KNOBS
    examples: ClassVar[tuple[Product, ...]] = (
        Product(4096, 4096, 4096, "bfloat16", bias=False),
        Product(512, 6144, 4096, "bfloat16", bias=True),
        Product(512, 256, 7168, "float32", bias=False),
    )

    def problems(self, model: ModelShape) -> Iterator[Product]:
        kept = model.projections if model.weight_format == "dense" else ()
        for outputs, inputs in (*kept, *model.dense_projections):
            for rows in model.rows:
                if rows > FEW_ROWS:
                    yield Product(rows, outputs, inputs, model.dtype, bias=False)

    def heuristic(self, problem: Product, device: Device) -> Config:
        return schedule(problem, device, named_dtype(problem.dtype).itemsize)

    def makes_sense(self, problem: Product, config: Config, device: Device) -> bool:
        return makes_sense(problem, config, device, named_dtype(problem.dtype).itemsize)

    def inputs(self, problem: Product, draw: Draw) -> Inputs:
        dtype = named_dtype(problem.dtype)
        bias = draw.normal(problem.outputs, dtype=dtype) if problem.bias else None
        x = draw.normal(problem.rows, problem.inputs, dtype=dtype)
        return x, draw.normal(problem.outputs, problem.inputs, dtype=dtype, scale=max(1, problem.inputs) ** -0.5), bias

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (matmul(*inputs, schedules=schedules),)

    def reference(self, inputs: Inputs) -> Outputs:
        return (linear(*inputs[:3]),)

    def exact(self, inputs: Inputs) -> Outputs:
        x, weight, bias = inputs[:3]
        y = x.double() @ weight.double().T
        return (y if bias is None else y + bias.double(),)

    def library(self, inputs: Inputs) -> Outputs | None:
        return (linear(*inputs[:3]),)

    def work(self, problem: Product) -> Work:
        m, n, k = problem.rows, problem.outputs, problem.inputs
        numbers = m * k + n * k + m * n + (n if problem.bias else 0)
        return Work(numbers * named_dtype(problem.dtype).itemsize, 2 * m * n * k, problem.dtype)

    def expects(self, problem: Product, config: Config, device: Device) -> tuple[str, ...]:
        return instructions(problem, config, device)


MATMUL = Matmul()
