"""Tokens in groups of 128 numbers of e4m3 times weights in tiles of 128 × 128, each with a scale.

One step along K is one group: its products are summed by the tensor cores alone and joined, times both scales, in
float32, which is all the precision that DeepSeek asks Hopper's for. Few rows are swapped and split as in
`small_matmul`, and the bound is the weights' bytes. For many rows the joining, 128 × 128 sums a step, stands beside
the products, and only other programs' products hide it: bound by the tensor cores, but not as near as `fp8_matmul`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels.cuda.projections.matmul import finished
from neokernels.cuda.projections.products import FEW_ROWS, Product, has_descriptors, instructions
from neokernels.cuda.projections.split_sum import leave_part, no_arrivals, room_for_parts, splits_of, sum_of_parts
from neokernels.cuda.projections.tiles import described, load_tile, readable, store_tile, tile_of
from neokernels.device import Device
from neokernels.formats import fp8_tiles
from neokernels.formats.fp8 import E4M3
from neokernels.formats.fp8_tiles import TILE, Fp8Groups
from neokernels.fp8_tile_linear import fp8_tile_product
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, TunableKernel, Work, dtype_name, named_dtype


@triton.jit(do_not_specialize=["rows"])
def fp8_tile_matmul_kernel(
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
    weight_scale_stride,
    y_stride,
    GROUP: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    GROUP_M: tl.constexpr,
    SPLITS: tl.constexpr,
    SWAP: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
    WAITS: tl.constexpr,
):
    tl.static_assert(BLOCK_N <= GROUP, "a tile of outputs has one scale a step")
    if WAITS:
        tl.extra.cuda.gdc_wait()
        # What depends on this kernel waits for its end itself.
        tl.extra.cuda.gdc_launch_dependents()
    tile = tl.program_id(0)
    part = tl.program_id(1)
    tile_m, tile_n = tile_of(tile, tl.cdiv(rows, BLOCK_M), tl.cdiv(outputs, BLOCK_N), GROUP_M)
    at_m = tile_m * BLOCK_M
    at_n = tile_n * BLOCK_N
    steps = tl.cdiv(inputs, GROUP)
    steps_of_part = tl.cdiv(steps, SPLITS)
    first = part * steps_of_part
    row = at_m + tl.arange(0, BLOCK_M)
    x_scale_ptr = x_scales_ptr + row
    weight_scale_ptr = weight_scales_ptr + at_n // GROUP * weight_scale_stride
    SHAPE: tl.constexpr = (BLOCK_N, BLOCK_M) if SWAP else (BLOCK_M, BLOCK_N)
    total = tl.zeros(SHAPE, tl.float32)
    for step in range(first, tl.minimum(first + steps_of_part, steps)):
        w_tile = load_tile(weight, at_n, step * GROUP, outputs, inputs, weight_stride, BLOCK_N, GROUP, DESCRIPTORS)
        x_tile = load_tile(x, at_m, step * GROUP, rows, inputs, x_stride, BLOCK_M, GROUP, DESCRIPTORS)
        scale = tl.load(x_scale_ptr + step * rows, row < rows, other=0.0)
        scale *= tl.load(weight_scale_ptr + step)
        if SWAP:
            total += tl.dot(w_tile, x_tile.T) * scale[None, :]
        else:
            total += tl.dot(x_tile, w_tile.T) * scale[:, None]
    last = True
    if SPLITS > 1:
        last = leave_part(total, parts_ptr, arrivals_ptr, tile, part, SPLITS)
    if last:
        if SPLITS > 1:
            total = sum_of_parts(parts_ptr, arrivals_ptr, tile, SPLITS, SHAPE[0], SHAPE[1])
        sums = finished(total.T if SWAP else total, bias_ptr, None, None, at_m, at_n, rows, outputs)
        store_tile(y, sums, at_m, at_n, rows, outputs, y_stride, BLOCK_M, BLOCK_N, False)


def fp8_tile_matmul(
    tokens: Fp8Groups,
    values: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
    arrivals: Tensor,
    *,
    schedules: Schedules,
) -> Tensor:
    """As `neokernels.fp8_tile_linear.fp8_tile_product`. `arrivals` is of `split_sum.no_arrivals`."""
    (rows, inputs), outputs = tokens.values.shape, values.shape[0]
    y = values.new_empty((rows, outputs), dtype=dtype)
    if not y.numel():
        return y
    config = schedules.config(FP8_TILE_MATMUL, Product(rows, outputs, inputs, dtype_name(dtype), bias is not None))
    block_m, block_n = config.number("BLOCK_M"), config.number("BLOCK_N")
    tiles = triton.cdiv(rows, block_m) * triton.cdiv(outputs, block_n)
    splits = splits_of(config, tiles, arrivals, schedules)
    descriptors = bool(config["DESCRIPTORS"])
    x, weight = readable(tokens.values, descriptors), readable(values, descriptors)
    fp8_tile_matmul_kernel[(tiles, splits)](
        described(x, block_m, TILE, descriptors),
        described(weight, block_n, TILE, descriptors),
        bias,
        tokens.scales.t().contiguous(),
        scales,
        y,
        room_for_parts(config, tiles, splits, y.device),
        arrivals,
        rows,
        outputs,
        inputs,
        x.stride(0),
        weight.stride(0),
        scales.stride(0),
        y.stride(0),
        GROUP=TILE,
        WAITS=config.waits,
        **config.changed(SPLITS=splits).constants,
        **config.options,
    )
    return y


class TritonFp8TileLinear:
    """`neokernels.fp8_tile_linear.Fp8TileLinear` in Triton. Its calls follow one another: no two run at once."""

    def __init__(self, values: Tensor, scales: Tensor, bias: Tensor | None = None, *, schedules: Schedules) -> None:
        """values [N, K] and scales as in `fp8_tiles`; bias [N] or None."""
        self.nbytes = values.nbytes + scales.nbytes + (0 if bias is None else bias.nbytes)
        self._weight = values, scales.contiguous(), bias
        self._arrivals = no_arrivals(values.shape[0], values.device)
        self._schedules = schedules

    def __call__(self, x: Tensor) -> Tensor:
        tokens = fp8_tiles.quantise_activations(x)
        return fp8_tile_matmul(tokens, *self._weight, x.dtype, self._arrivals, schedules=self._schedules)


class Fp8TileMatmul(TunableKernel[Product]):
    name = "fp8_tile_matmul"
    problem_type = Product
    sources = (fp8_tile_matmul_kernel, leave_part, sum_of_parts, finished, tile_of, load_tile, store_tile)
    knobs = (
        Knob("BLOCK_M", (16, 32, 64, 128)),
        Knob("BLOCK_N", (32, 64, 128)),
        Knob("GROUP_M", (1, 8)),
        Knob("SPLITS", (1, 2, 3, 4, 6, 8, 12, 16)),
        Knob("SWAP", (False, True)),
        Knob("DESCRIPTORS", (False, True)),
        Knob("num_warps", (4, 8)),
        Knob("num_stages", (2, 3, 4, 5, 6, 8)),
        Knob("launch_pdl", (False, True)),
    )
    examples: ClassVar[tuple[Product, ...]] = (
        Product(4096, 7168, 2048, "bfloat16", bias=False),
        Product(16, 2112, 7168, "bfloat16", bias=False),
    )

    def problems(self, model: ModelShape) -> Iterator[Product]:
        return iter(())  # engines dequantise tiles while they load

    def heuristic(self, problem: Product, device: Device) -> Config:
        few = problem.rows <= FEW_ROWS
        block_m = max(16, triton.next_power_of_2(problem.rows)) if few else 128
        block_n = 64 if few else 128
        tiles = triton.cdiv(problem.rows, block_m) * triton.cdiv(problem.outputs, block_n)
        most = max(1, triton.cdiv(problem.inputs, TILE) // 8)
        room = device.shared_bytes // (2 if few else 1) - 2048
        return Config(
            BLOCK_M=block_m,
            BLOCK_N=block_n,
            GROUP_M=8,
            SPLITS=max(1, min(2 * device.multiprocessors // tiles, most, 16)) if few else 1,
            SWAP=few,
            DESCRIPTORS=has_descriptors(problem, device, E4M3.itemsize),
            num_warps=4 if few else 8,
            num_stages=max(2, min(8 if few else 5, room // ((block_m + block_n) * TILE))),
            launch_pdl=False,
        )

    def makes_sense(self, problem: Product, config: Config, device: Device) -> bool:
        block_m, block_n, splits = (config.number(knob) for knob in ("BLOCK_M", "BLOCK_N", "SPLITS"))
        if config["DESCRIPTORS"] and not has_descriptors(problem, device, E4M3.itemsize):
            return False
        if block_m > max(16, 2 * problem.rows):
            return False
        if splits > 1 and (problem.rows > FEW_ROWS or splits > triton.cdiv(problem.inputs, TILE) // 2):
            return False
        held = (block_m + block_n) * TILE * (config.number("num_stages") - 1)
        return block_m * block_n <= 64 * 32 * config.number("num_warps") and held <= device.shared_bytes

    def inputs(self, problem: Product, draw: Draw) -> Inputs:
        rows, outputs, inputs = problem.rows, problem.outputs, problem.inputs
        groups = -(-inputs // TILE)
        x_scales = draw.normal(groups, rows, dtype=torch.float32, scale=2**-6).abs().t()
        tokens = Fp8Groups(draw.normal(rows, inputs, dtype=E4M3, scale=64.0), x_scales)
        values = draw.normal(outputs, inputs, dtype=E4M3, scale=64.0)
        scales = draw.normal(*fp8_tiles.scales_shape((outputs, inputs)), dtype=torch.float32, scale=2**-6).abs()
        dtype = named_dtype(problem.dtype)
        bias = draw.normal(outputs, dtype=dtype) if problem.bias else None
        return tokens, values, scales, bias, dtype, no_arrivals(outputs, draw.device)

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (fp8_tile_matmul(*inputs, schedules=schedules),)

    def reference(self, inputs: Inputs) -> Outputs:
        return (fp8_tile_product(*inputs[:5]),)

    def exact(self, inputs: Inputs) -> Outputs:
        tokens, values, scales, bias = inputs[:4]
        x = tokens.values.double() * tokens.scales.double().repeat_interleave(TILE, 1)[:, : values.shape[1]]
        each = scales.double().repeat_interleave(TILE, 0).repeat_interleave(TILE, 1)
        y = x @ (values.double() * each[: values.shape[0], : values.shape[1]]).T
        return (y if bias is None else y + bias.double(),)

    def work(self, problem: Product) -> Work:
        m, n, k = problem.rows, problem.outputs, problem.inputs
        scales = (m + triton.cdiv(n, TILE)) * triton.cdiv(k, TILE) * torch.float32.itemsize
        written = (m * n + (n if problem.bias else 0)) * named_dtype(problem.dtype).itemsize
        return Work((m + n) * k + scales + written, 2 * m * n * k, dtype_name(E4M3))

    def expects(self, problem: Product, config: Config, device: Device) -> tuple[str, ...]:
        return instructions(problem, config, device)


FP8_TILE_MATMUL = Fp8TileMatmul()
