"""x Wᵀ + b with W in four bits and x in eight or four, scales of blocks on both sides: Blackwell's own product.

The tensor cores multiply the elements as they lie and apply both scales (`tcgen05.mma` with block scales: mxf8f6f4 for
MXFP8 × MXFP4, mxf4 and mxf4nvf4 for four bits on both sides), at twice (eight bits) and four times (four bits) the rate
of bfloat16. Elements come by bulk copies. The scales of W lie as tensor memory wants them
(`neokernels.formats.fp4_scale_tiles`) and go there by a copy of its own, through no register; those of x, which are a
fraction of its bytes, are read row by row as the kernels before left them. What scales a row or the matrix follows the
sum. For few rows W stands left and x right, and the sum over K is split, as in `fp4_matmul`.

Bound: for few rows the bytes of W, for many the tensor cores.
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
from triton.tools.tensor_descriptor import TensorDescriptor

from neokernels.cuda.projections.block_scaled_rows import Form, Rows, dequantised, form_of, quantised
from neokernels.cuda.projections.matmul import finished
from neokernels.cuda.projections.products import FEW_ROWS
from neokernels.cuda.projections.split_sum import leave_part, no_arrivals, room_for_parts, splits_of, sum_of_parts
from neokernels.cuda.projections.tiles import describable, described, load_tile, store_tile, tile_of
from neokernels.device import Device
from neokernels.formats import fp4_scale_tiles, mxfp4, nvfp4
from neokernels.formats.fp4_scale_tiles import ROWS, STEP, TiledFp4
from neokernels.formats.nvfp4 import Nvfp4Rows
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype

_LEAST_STEPS = 3
"""Steps along K that are worth a program of their own."""
_SPLITS = (1, 2, 3, 4, 5, 6, 8, 12)


@triton.jit(do_not_specialize=["rows"])
def fp4_scaled_matmul_kernel(
    x,
    x_scales_ptr,
    row_scales_ptr,
    weight,
    weight_scales,
    tensor_scale_ptr,
    bias_ptr,
    y_ptr,
    parts_ptr,
    arrivals_ptr,
    rows,
    outputs,
    inputs,
    x_width,
    x_blocks,
    BLOCK: tl.constexpr,
    ELEMENT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLITS: tl.constexpr,
    SWAP: tl.constexpr,
    GROUP_M: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
    WAITS: tl.constexpr,
):
    SCALES: tl.constexpr = BLOCK_K // BLOCK
    X_STEP: tl.constexpr = BLOCK_K // 2 if ELEMENT == "e2m1" else BLOCK_K
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
    for step in range(first, tl.minimum(first + steps_of_part, steps)):
        x_tile = load_tile(x, at_m, step * X_STEP, rows, x_width, x_width, BLOCK_M, X_STEP, DESCRIPTORS)
        w_tile = weight.load([at_n, step * (BLOCK_K // 2)])
        x_scales = load_tile(x_scales_ptr, at_m, step * SCALES, rows, x_blocks, x_blocks, BLOCK_M, SCALES, False)
        w_scales = weight_scales.load([0, at_n // 128, step * (SCALES // 4), 0, 0])
        w_scales = w_scales.reshape(BLOCK_N // 128, SCALES // 4, 32, 4, 4)
        w_scales = w_scales.trans(0, 3, 2, 1, 4).reshape(BLOCK_N, SCALES)
        if SWAP:
            total = tl.dot_scaled(w_tile, w_scales, "e2m1", x_tile.T, x_scales, ELEMENT, total)
        else:
            total = tl.dot_scaled(x_tile, x_scales, ELEMENT, w_tile.T, w_scales, "e2m1", total)
    last = True
    if SPLITS > 1:
        last = leave_part(total, parts_ptr, arrivals_ptr, tile, part, SPLITS)
    if last:
        if SPLITS > 1:
            total = sum_of_parts(parts_ptr, arrivals_ptr, tile, SPLITS, SHAPE[0], SHAPE[1])
        sums = total.T if SWAP else total
        if tensor_scale_ptr is not None:
            sums *= tl.load(tensor_scale_ptr)
        if row_scales_ptr is not None:
            row = at_m + tl.arange(0, BLOCK_M)
            sums *= tl.load(row_scales_ptr + row, row < rows, other=0.0)[:, None]
        sums = finished(sums, bias_ptr, None, None, at_m, at_n, rows, outputs)
        store_tile(y_ptr, sums, at_m, at_n, rows, outputs, outputs, BLOCK_M, BLOCK_N, False)


@dataclass(frozen=True)
class ScaledFp4Product(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    outputs: int
    inputs: int
    form: Form
    dtype: str
    """Of y."""
    bias: bool


def fp4_scaled_matmul(
    x: Rows,
    weight: TiledFp4,
    bias: Tensor | None,
    dtype: torch.dtype,
    arrivals: Tensor,
    *,
    schedules: Schedules,
) -> Tensor:
    """x Wᵀ + b: x [T, K], weight of N outputs, bias [N] or None; returns [T, N] in `dtype`.

    `arrivals` is of `split_sum.no_arrivals`.
    """
    values = x.codes if isinstance(x, Nvfp4Rows) else x.values
    row_scales = x.row_scales if isinstance(x, Nvfp4Rows) else None
    form = form_of(x)
    rows, outputs = values.shape[0], weight.outputs
    y = torch.empty((rows, outputs), dtype=dtype, device=values.device)
    if not y.numel():
        return y
    problem = ScaledFp4Product(rows, outputs, weight.columns, form, dtype_name(dtype), bias is not None)
    config = schedules.config(FP4_SCALED_MATMUL, problem)
    block_m, block_n, block_k = (config.number(f"BLOCK_{dim}") for dim in "MNK")
    tiles = triton.cdiv(rows, block_m) * triton.cdiv(outputs, block_n)
    splits = splits_of(config, tiles, arrivals, schedules)
    width = values.shape[1]
    fp4_scaled_matmul_kernel[(tiles, splits)](
        described(values, block_m, block_k if form == "mxfp8" else block_k // 2, bool(config["DESCRIPTORS"])),
        x.scales,
        row_scales,
        described(weight.codes, block_n, block_k // 2, True),
        TensorDescriptor.from_tensor(weight.scales, [1, block_n // ROWS, block_k // weight.block // 4, 2, 256]),
        weight.tensor_scale,
        bias,
        y,
        room_for_parts(config, tiles, splits, y.device),
        arrivals,
        rows,
        outputs,
        weight.columns,
        width,
        x.scales.shape[1],
        BLOCK=weight.block,
        ELEMENT="e4m3" if form == "mxfp8" else "e2m1",
        WAITS=config.waits,
        **config.changed(SPLITS=splits).constants,
        **config.options,
    )
    return y


class Fp4ScaledMatmul(TunableKernel[ScaledFp4Product]):
    name = "fp4_scaled_matmul"
    problem_type = ScaledFp4Product
    sources = (fp4_scaled_matmul_kernel, finished, leave_part, sum_of_parts, load_tile, store_tile, tile_of)
    knobs = (
        Knob("BLOCK_M", (16, 32, 64, 128)),
        Knob("BLOCK_N", (128, 256)),
        Knob("BLOCK_K", (128, 256)),
        Knob("SPLITS", _SPLITS),
        Knob("SWAP", (False, True)),
        Knob("GROUP_M", (1, 8)),
        Knob("DESCRIPTORS", (False, True)),
        Knob("num_warps", (4, 8)),
        Knob("num_stages", (2, 3, 4, 5, 6)),
        Knob("launch_pdl", (False, True)),
    )
    examples = (
        ScaledFp4Product(1, 5120, 2880, "mxfp8", "bfloat16", bias=True),
        ScaledFp4Product(2048, 4096, 4096, "mxfp8", "bfloat16", bias=False),
        ScaledFp4Product(64, 24576, 4096, "nvfp4", "bfloat16", bias=False),
        ScaledFp4Product(2048, 4096, 4096, "nvfp4", "bfloat16", bias=False),
    )

    def problems(self, model: ModelShape) -> Iterator[ScaledFp4Product]:
        forms: dict[str, Form] = {"mxfp4": "mxfp8", "nvfp4": "nvfp4"}
        if model.weight_format in forms:
            for outputs, inputs in model.projections:
                for rows in model.rows:
                    form = forms[model.weight_format]
                    yield ScaledFp4Product(rows, outputs, inputs, form, model.dtype, bias=False)

    def heuristic(self, problem: ScaledFp4Product, device: Device) -> Config:
        few = problem.rows <= FEW_ROWS
        block_m = max(16, min(64, triton.next_power_of_2(problem.rows))) if few else 128
        block_k = 128 if problem.form == "mxfp8" else 256
        tiles = triton.cdiv(problem.outputs, 128) * triton.cdiv(problem.rows, block_m)
        steps = triton.cdiv(problem.inputs, block_k)
        most = min(2 * device.multiprocessors / tiles, steps / _LEAST_STEPS) if few else 1
        return Config(
            BLOCK_M=block_m,
            BLOCK_N=128 if few else 256,
            BLOCK_K=block_k,
            SPLITS=max((splits for splits in _SPLITS if splits <= most), default=1),
            SWAP=few,
            GROUP_M=8,
            DESCRIPTORS=_describable(problem, device),
            num_warps=4 if few else 8,
            num_stages=4,
            launch_pdl=False,
        )

    def shipped(self, problem: ScaledFp4Product, device: Device) -> tuple[Config, ...]:
        if not device.scales_in_tensor_cores:
            return ()
        config = self.heuristic(problem.bucket(), device)
        return (config, config.changed(launch_pdl=True)) if problem.rows == 1 else (config,)

    def expects(self, problem: ScaledFp4Product, config: Config, device: Device) -> tuple[str, ...]:
        kind = "kind::mxf8f6f4" if problem.form == "mxfp8" else "kind::mxf4"
        return ("tcgen05.mma", "block_scale", kind, "tcgen05.cp", "cp.async.bulk.tensor")

    def makes_sense(self, problem: ScaledFp4Product, config: Config, device: Device) -> bool:
        block_m, block_n, block_k = (config.number(f"BLOCK_{dim}") for dim in "MNK")
        if not device.scales_in_tensor_cores or (config["DESCRIPTORS"] and not _describable(problem, device)):
            return False
        # The left side of the tensor cores' product has 128 rows.
        left = block_n if config["SWAP"] else block_m
        if left != 128 or block_m > max(16, 2 * problem.rows):
            return False
        most = triton.cdiv(problem.inputs, block_k) // 2 if problem.rows <= FEW_ROWS else 1
        copied = (block_m * (1 if problem.form == "mxfp8" else 0.5) + block_n) * block_k * config.number("num_stages")
        return config.number("SPLITS") <= max(1, most) and copied <= device.shared_bytes

    def inputs(self, problem: ScaledFp4Product, draw: Draw) -> Inputs:
        dtype, in_nvfp4 = named_dtype(problem.dtype), problem.form == "nvfp4"
        x = quantised(draw.normal(problem.rows, problem.inputs, dtype=dtype), problem.form)
        outputs, panels = triton.cdiv(problem.outputs, ROWS), triton.cdiv(problem.inputs, STEP)
        # Every pattern of bits that is a number: e4m3 from 0, powers of two around 1.
        low, high = (0, 127) if in_nvfp4 else (120, 130)
        blocks = STEP // (nvfp4.BLOCK if in_nvfp4 else mxfp4.BLOCK)
        scales = draw.integers(low, high, 1, outputs, panels * blocks // 4, 2, 256, dtype=torch.uint8)
        weight = TiledFp4(
            codes=draw.integers(0, 256, outputs * ROWS, panels * STEP // 2, dtype=torch.uint8),
            scales=scales.view(torch.float8_e4m3fn) if in_nvfp4 else scales,
            tensor_scale=draw.normal(1, dtype=torch.float32)[0].abs() if in_nvfp4 else None,
            outputs=problem.outputs,
            columns=problem.inputs,
        )
        bias = draw.normal(problem.outputs, dtype=dtype) if problem.bias else None
        return x, weight, bias, dtype, no_arrivals(outputs * ROWS, draw.device)

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (fp4_scaled_matmul(*inputs, schedules=schedules),)

    def reference(self, inputs: Inputs) -> Outputs:
        x, weight, bias, dtype, _ = inputs
        y = linear(dequantised(x, torch.float32), fp4_scale_tiles.dequantise(weight, torch.float32))
        return ((y if bias is None else y + bias).to(dtype),)

    def exact(self, inputs: Inputs) -> Outputs:
        x, weight, bias, _, _ = inputs
        y = dequantised(x, torch.float64) @ fp4_scale_tiles.dequantise(weight, torch.float64).T
        return (y if bias is None else y + bias.double(),)

    def work(self, problem: ScaledFp4Product) -> Work:
        m, n, k = problem.rows, problem.outputs, problem.inputs
        block = nvfp4.BLOCK if problem.form == "nvfp4" else mxfp4.BLOCK
        kept = block // 2 + 1
        tokens = m * triton.cdiv(k, block) * (block + 1 if problem.form == "mxfp8" else kept)
        results = (m * n + (n if problem.bias else 0)) * named_dtype(problem.dtype).itemsize
        multiplied = "float8_e4m3fn" if problem.form == "mxfp8" else "float4_e2m1fn_x2"
        return Work(n * triton.cdiv(k, block) * kept + tokens + results, 2 * m * n * k, multiplied)


def _describable(problem: ScaledFp4Product, device: Device) -> bool:
    """Whether bulk copies reach x; its blocks take 32, 16 or 8 bytes."""
    return describable(device, 8 * triton.cdiv(problem.inputs, nvfp4.BLOCK) if problem.form == "nvfp4" else 16)


FP4_SCALED_MATMUL = Fp4ScaledMatmul()
