"""x Wᵀ + b with W in four bits, MXFP4 or NVFP4, and x as it is: W is decoded on its way to the tensor cores.

A tile of W is one run of memory (`neokernels.formats.fp4_panels`), asynchronously copied, and decoded in registers
(`fp4_decode`); scales of blocks are multiplied in there, exactly, that of the matrix behind the sum. For few rows W
stands left in the product and x right, since tensor cores take 64 rows or more on their left, and the sum over K is
split so that enough programs read W at once. For many rows W goes through shared memory, so that a warp group decodes
what all of them multiply.

Bound: for few rows the bytes of W, 17/32 (MXFP4) or 9/16 (NVFP4) of one a weight; on Hopper decoding issues nearly as
many instructions as there are clocks while those bytes arrive. For many rows the tensor cores: a multiprocessor of
Hopper issues what decodes 128 × 64 weights in about 400 clocks and multiplies them by 128 rows in about 500, and two
programs overlap the one with the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import linear

from neokernels.cuda.projections.fp4_decode import fp4_weights
from neokernels.cuda.projections.matmul import arithmetic, finished
from neokernels.cuda.projections.products import FEW_ROWS
from neokernels.cuda.projections.split_sum import leave_part, no_arrivals, room_for_parts, splits_of, sum_of_parts
from neokernels.cuda.projections.tiles import describable, described, load_tile, readable, store_tile, tile_of
from neokernels.device import Device
from neokernels.formats import mxfp4, nvfp4
from neokernels.formats.fp4_panels import PANEL, ROWS, Fp4Panels, dequantise
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype

BLOCKS = {"mxfp4": mxfp4.BLOCK, "nvfp4": nvfp4.BLOCK}
_LEAST_PANELS = 4
"""What is worth a program of its own."""
_SPLITS = (1, 2, 3, 4, 5, 6, 8, 12)


@triton.jit(do_not_specialize=["rows"])
def fp4_matmul_kernel(
    x,
    words,
    scales_ptr,
    tensor_scale_ptr,
    bias_ptr,
    y_ptr,
    parts_ptr,
    arrivals_ptr,
    rows,
    outputs,
    inputs,
    x_stride,
    panel_rows,
    BLOCK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLITS: tl.constexpr,
    SWAP: tl.constexpr,
    GROUP_M: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
    PRECISION: tl.constexpr,
    PROMOTE: tl.constexpr,
    WAITS: tl.constexpr,
):
    PANEL: tl.constexpr = 128
    SCALES: tl.constexpr = PANEL // BLOCK
    if WAITS:
        tl.extra.cuda.gdc_wait()
        # What depends on this kernel waits for its end itself.
        tl.extra.cuda.gdc_launch_dependents()
    tile = tl.program_id(0)
    part = tl.program_id(1)
    tile_m, tile_n = tile_of(tile, tl.cdiv(rows, BLOCK_M), tl.cdiv(outputs, BLOCK_N), GROUP_M)
    at_m = tile_m * BLOCK_M
    at_n = tile_n * BLOCK_N
    steps = tl.cdiv(inputs, BLOCK_K)
    steps_of_part = tl.cdiv(steps, SPLITS)
    first = part * steps_of_part
    SHAPE: tl.constexpr = (BLOCK_N, BLOCK_M) if SWAP else (BLOCK_M, BLOCK_N)
    total = tl.zeros(SHAPE, tl.float32)
    output = tl.arange(0, BLOCK_N)[:, None]
    for step in range(first, tl.minimum(first + steps_of_part, steps)):
        at_k = step * BLOCK_K
        row = at_k // PANEL * panel_rows + at_n
        within = at_k % PANEL
        if DESCRIPTORS:
            word_tile = words.load([row, within // 8])
        else:
            word_at = within // 8 + tl.arange(0, BLOCK_K // 8)[None, :]
            word_tile = tl.load(words + row.to(tl.int64) * (PANEL // 8) + output * (PANEL // 8) + word_at)
        scale_at = within // BLOCK + tl.arange(0, BLOCK_K // BLOCK)[None, :]
        scale_tile = tl.load(scales_ptr + row.to(tl.int64) * SCALES + output * SCALES + scale_at)
        x_tile = load_tile(x, at_m, at_k, rows, inputs, x_stride, BLOCK_M, BLOCK_K, DESCRIPTORS)
        w_tile = fp4_weights(word_tile, scale_tile, x_tile.dtype)
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
        sums = (total.T if SWAP else total) * tl.load(tensor_scale_ptr)
        sums = finished(sums, bias_ptr, None, None, at_m, at_n, rows, outputs)
        store_tile(y_ptr, sums, at_m, at_n, rows, outputs, outputs, BLOCK_M, BLOCK_N, False)


@dataclass(frozen=True)
class Fp4Product(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    outputs: int
    inputs: int
    dtype: str
    """Of x and y, and of what is multiplied."""
    weight_format: str
    bias: bool


def fp4_matmul(x: Tensor, weight: Fp4Panels, bias: Tensor | None, arrivals: Tensor, *, schedules: Schedules) -> Tensor:
    """x Wᵀ + b: x [T, K], weight of N outputs, bias [N] or None; returns [T, N] in the dtype of x.

    `arrivals` is of `split_sum.no_arrivals`.
    """
    rows, outputs = x.shape[0], weight.outputs
    y = x.new_empty((rows, outputs))
    if not y.numel():
        return y
    weight_format = "mxfp4" if weight.block == mxfp4.BLOCK else "nvfp4"
    problem = Fp4Product(rows, outputs, weight.columns, dtype_name(x.dtype), weight_format, bias is not None)
    config = schedules.config(FP4_MATMUL, problem)
    block_m, block_n, block_k = (config.number(f"BLOCK_{dim}") for dim in "MNK")
    tiles = triton.cdiv(rows, block_m) * triton.cdiv(outputs, block_n)
    splits = splits_of(config, tiles, arrivals, schedules)
    descriptors = bool(config["DESCRIPTORS"])
    x = readable(x, descriptors)
    fp4_matmul_kernel[(tiles, splits)](
        described(x, block_m, block_k, descriptors),
        described(weight.words.flatten(0, 1), block_n, block_k // 8, descriptors),
        weight.scales,
        weight.tensor_scale,
        bias,
        y,
        room_for_parts(config, tiles, splits, y.device),
        arrivals,
        rows,
        outputs,
        weight.columns,
        x.stride(0),
        weight.words.shape[1],
        BLOCK=weight.block,
        WAITS=config.waits,
        **arithmetic(x.dtype, block_k),
        **config.changed(SPLITS=splits).constants,
        **config.options,
    )
    return y


class Fp4Matmul(TunableKernel[Fp4Product]):
    name = "fp4_matmul"
    problem_type = Fp4Product
    sources = (fp4_matmul_kernel, fp4_weights, finished, leave_part, sum_of_parts, load_tile, store_tile, tile_of)
    knobs = (
        Knob("BLOCK_M", (16, 32, 64, 128, 256)),
        Knob("BLOCK_N", (64, 128)),
        Knob("BLOCK_K", (64, 128)),
        Knob("SPLITS", _SPLITS),
        Knob("SWAP", (False, True)),
        Knob("GROUP_M", (1, 8)),
        Knob("DESCRIPTORS", (False, True)),
        Knob("num_warps", (4, 8)),
        Knob("num_stages", (2, 3, 4, 5, 6)),
        Knob("launch_pdl", (False, True)),
    )
    examples = (
        Fp4Product(1, 5120, 2880, "bfloat16", "mxfp4", bias=True),
        Fp4Product(64, 24576, 4096, "bfloat16", "nvfp4", bias=False),
        Fp4Product(2048, 4096, 4096, "bfloat16", "mxfp4", bias=False),
        Fp4Product(2048, 4096, 4096, "bfloat16", "nvfp4", bias=False),
    )

    def problems(self, model: ModelShape) -> Iterator[Fp4Product]:
        if model.weight_format in BLOCKS:
            for outputs, inputs in model.projections:
                for rows in model.rows:
                    yield Fp4Product(rows, outputs, inputs, model.dtype, model.weight_format, bias=False)

    def heuristic(self, problem: Fp4Product, device: Device) -> Config:
        few = problem.rows <= FEW_ROWS
        block_m = max(16, min(64, triton.next_power_of_2(problem.rows))) if few else 128
        tiles = triton.cdiv(problem.outputs, 128) * triton.cdiv(problem.rows, block_m)
        most = min(3 * device.multiprocessors / tiles, triton.cdiv(problem.inputs, PANEL) / _LEAST_PANELS) if few else 1
        # Hopper's compiler has each product end before the next begins where the left operand is in registers. With 64
        # rows that costs more than the way through shared memory.
        swap = few and (block_m < 64 or device.capability // 10 != 9)
        return Config(
            BLOCK_M=block_m,
            BLOCK_N=128,
            BLOCK_K=128 if few else 64,
            SPLITS=max((splits for splits in _SPLITS if splits <= most), default=1),
            SWAP=swap,
            GROUP_M=8,
            DESCRIPTORS=_describable(problem, device),
            num_warps=4 if few else 8,
            num_stages=4 if swap or not few else 3,
            launch_pdl=False,
        )

    def shipped(self, problem: Fp4Product, device: Device) -> tuple[Config, ...]:
        config = self.heuristic(problem.bucket(), device)
        return (config, config.changed(launch_pdl=True)) if problem.rows == 1 else (config,)

    def expects(self, problem: Fp4Product, config: Config, device: Device) -> tuple[str, ...]:
        copied = ("cp.async.bulk.tensor",) if config["DESCRIPTORS"] else ()
        return "fma.rn.bf16x2", *device.wide_products, *copied

    def makes_sense(self, problem: Fp4Product, config: Config, device: Device) -> bool:
        block_m, block_n, block_k = (config.number(f"BLOCK_{dim}") for dim in "MNK")
        warps, stages = config.number("num_warps"), config.number("num_stages")
        if config["DESCRIPTORS"] and not _describable(problem, device):
            return False
        if block_m > max(16, 2 * problem.rows):
            return False
        if config.number("SPLITS") > (triton.cdiv(problem.inputs, block_k) // 2 if problem.rows <= FEW_ROWS else 1):
            return False
        copied = (block_m * named_dtype(problem.dtype).itemsize + block_n) * block_k * stages
        return block_m * block_n + block_n * block_k <= 192 * 32 * warps and copied <= device.shared_bytes

    def inputs(self, problem: Fp4Product, draw: Draw) -> Inputs:
        dtype, block = named_dtype(problem.dtype), BLOCKS[problem.weight_format]
        x = draw.normal(problem.rows, problem.inputs, dtype=dtype)
        bias = draw.normal(problem.outputs, dtype=dtype) if problem.bias else None
        shape = triton.cdiv(problem.inputs, PANEL), triton.cdiv(problem.outputs, ROWS) * ROWS
        # Every pattern of bits that is a number: e4m3 from 0, powers of two within what float16 has.
        low, high = (0, 127) if problem.weight_format == "nvfp4" else (112, 129)
        panels = Fp4Panels(
            words=draw.integers(-(2**31), 2**31, *shape, PANEL // 8, dtype=torch.int32),
            scales=draw.integers(low, high, *shape, PANEL // block, dtype=torch.uint8),
            tensor_scale=draw.normal(1, dtype=torch.float32)[0].abs(),
            outputs=problem.outputs,
            columns=problem.inputs,
        )
        return x, panels, bias, no_arrivals(shape[1], draw.device)

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        x, panels, bias, arrivals = inputs
        return (fp4_matmul(x, panels, bias, arrivals, schedules=schedules),)

    def reference(self, inputs: Inputs) -> Outputs:
        x, panels, bias, _ = inputs
        return (linear(x, dequantise(panels, x.dtype), bias),)

    def exact(self, inputs: Inputs) -> Outputs:
        x, panels, bias, _ = inputs
        y = x.double() @ dequantise(panels, torch.float64).T
        return (y if bias is None else y + bias.double(),)

    def work(self, problem: Fp4Product) -> Work:
        m, n, k = problem.rows, problem.outputs, problem.inputs
        block = BLOCKS[problem.weight_format]
        weight = n * triton.cdiv(k, block) * (block // 2 + 1)
        others = (m * k + m * n + (n if problem.bias else 0)) * named_dtype(problem.dtype).itemsize
        return Work(weight + others, 2 * m * n * k, problem.dtype)


def _describable(problem: Fp4Product, device: Device) -> bool:
    return describable(device, problem.inputs * named_dtype(problem.dtype).itemsize)


FP4_MATMUL = Fp4Matmul()
