"""Rows of each expert through its own projection, in one launch that learns on the device whose rows there are.

A program takes one tile of one expert's rows, as `expert_sort` maps them, and some of its outputs. Programs beyond the
last tile end at once, so that a CUDA graph can hold the launch. The projection to gate and up gathers its rows through
the order of the sort, multiplies matching columns of both and applies the activation before anything is written; the
projection down reads what that wrote and puts each answer where its pair of row and expert belongs. So the only traffic
beside weights is x, the activations and the answers, once each.

With few rows an expert the operands are swapped: tensor cores take 64 rows or more on their left and 8 or more on their
right, and the weight has them. Weights in eight-bit integers and in four bits are widened in registers, from where
Hopper multiplies a left operand as it is; those in fp8 meet rows in fp8. Scales of rows follow the sum. A sum over
inputs has one order, and no row has part in another's: its bits depend on the schedule alone.

Bounds: with few rows the bytes of the experts that are touched; from some 300 rows an expert on the tensor cores.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from neokernels.cuda.experts.expert_sort import TILE_ROWS, ByExpert, most_tiles
from neokernels.cuda.experts.expert_weights import StackedWeight, in_panels
from neokernels.cuda.projections.fp4_decode import fp4_weights
from neokernels.cuda.projections.tiles import described, load_tile, tile_of
from neokernels.cuda.rows.silu_mul import gated
from neokernels.formats.fp4_panels import PANEL
from neokernels.formats.fp8 import Fp8Rows
from neokernels.silu_mul import SwigluClamp
from neokernels.tuning.space import Config

Rows = Tensor | Fp8Rows
"""e4m3 beside weights in fp8, dense beside all others."""

_PANEL = tl.constexpr(PANEL)


@triton.jit
def weight_tile(
    values,
    scales_ptr,
    expert,
    at_n,
    at_k,
    dtype: tl.constexpr,
    FORMAT: tl.constexpr,
    EXPERTS: tl.constexpr,
    ROWS: tl.constexpr,
    INPUTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
):
    """[BLOCK_N, BLOCK_K] of an expert's weight. What lies beyond its outputs is of another's, or zero."""
    if FORMAT == "dense" or FORMAT == "int8" or FORMAT == "fp8":
        tile = load_tile(
            values, expert * ROWS + at_n, at_k, EXPERTS * ROWS, INPUTS, INPUTS, BLOCK_N, BLOCK_K, DESCRIPTORS
        )
        tile = tile.to(dtype)
    else:
        panels: tl.constexpr = (INPUTS + _PANEL - 1) // _PANEL
        words: tl.constexpr = _PANEL // 8
        blocks: tl.constexpr = _PANEL // 32 if FORMAT == "mxfp4" else _PANEL // 16
        row = (expert * panels + at_k // _PANEL) * ROWS + at_n
        code = load_tile(values, row, 0, EXPERTS * panels * ROWS, words, words, BLOCK_N, words, DESCRIPTORS)
        scale = load_tile(scales_ptr, row, 0, EXPERTS * panels * ROWS, blocks, blocks, BLOCK_N, blocks, False)
        tile = fp4_weights(code, scale, dtype)
    return tile


@triton.jit
def product(weight, x, total, FORMAT: tl.constexpr, SWAP: tl.constexpr):
    # Hopper sums products of eight bits with fewer bits than a float32 has: no more of them than of 128 inputs.
    PROMOTE: tl.constexpr = min(x.shape[1], 128) if FORMAT == "fp8" else 0
    if SWAP:
        total = tl.dot(weight, x.T, total, input_precision="ieee", max_num_imprecise_acc=PROMOTE)
    else:
        total = tl.dot(x, weight.T, total, input_precision="ieee", max_num_imprecise_acc=PROMOTE)
    return total


@triton.jit
def finished(
    total,
    x_scales_ptr,
    scales_ptr,
    tensor_scales_ptr,
    bias_ptr,
    expert,
    row,
    column,
    end,
    FORMAT: tl.constexpr,
    ROWS: tl.constexpr,
    SWAP: tl.constexpr,
):
    """Sums as [BLOCK_M, BLOCK_N], with their scales and with their bias where there are any."""
    if SWAP:
        total = total.T
    if FORMAT == "fp8":
        total *= tl.load(x_scales_ptr + row)[:, None]
    if FORMAT == "fp8" or FORMAT == "int8":
        total *= tl.load(scales_ptr + expert * ROWS + column, column < end, other=0.0)[None, :]
    if tensor_scales_ptr is not None:
        total *= tl.load(tensor_scales_ptr + expert)
    if bias_ptr is not None:
        total += tl.load(bias_ptr + expert * end + column, column < end, other=0.0).to(tl.float32)[None, :]
    return total


@triton.jit(do_not_specialize=["tiles"])
def grouped_matmul_kernel(
    x_ptr,
    x_scales_ptr,
    values,
    scales_ptr,
    tensor_scales_ptr,
    bias_ptr,
    out_ptr,
    order_ptr,
    map_ptr,
    tiles,
    alpha,
    limit,
    FORMAT: tl.constexpr,
    EXPERTS: tl.constexpr,
    EXPERTS_PER_ROW: tl.constexpr,
    ROWS: tl.constexpr,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    GATED: tl.constexpr,
    CLAMPED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    SWAP: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
    WAITS: tl.constexpr,
):
    tile, tile_n = tile_of(tl.program_id(0), tiles, tl.cdiv(OUTPUTS, BLOCK_N), GROUP_M)
    at_n = tile_n * BLOCK_N
    if WAITS:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    expert = tl.load(map_ptr + tile * 4)
    if expert >= 0:
        first = tl.load(map_ptr + tile * 4 + 1)
        count = tl.load(map_ptr + tile * 4 + 2)
        m = tl.arange(0, BLOCK_M)
        # Rows that are missing to a whole tile repeat one that is there.
        place = first + tl.minimum(m, count - 1)
        pair = tl.load(order_ptr + place)
        row = pair // EXPERTS_PER_ROW if GATED else place
        k = tl.arange(0, BLOCK_K)
        x_ptrs = x_ptr + row.to(tl.int64)[:, None] * INPUTS + k[None, :]
        dtype: tl.constexpr = x_ptr.dtype.element_ty
        total = tl.zeros((BLOCK_N, BLOCK_M) if SWAP else (BLOCK_M, BLOCK_N), tl.float32)
        up = total
        for at_k in range(0, INPUTS, BLOCK_K):
            # Ahead of x, whose addresses are known last.
            weight = weight_tile(
                values,
                scales_ptr,
                expert,
                at_n,
                at_k,
                dtype,
                FORMAT,
                EXPERTS,
                ROWS,
                INPUTS,
                BLOCK_N,
                BLOCK_K,
                DESCRIPTORS,
            )
            if INPUTS % BLOCK_K:
                x = tl.load(x_ptrs + at_k, (at_k + k < INPUTS)[None, :], other=0.0)
            else:
                x = tl.load(x_ptrs + at_k)
            total = product(weight, x, total, FORMAT, SWAP)
            if GATED:
                weight = weight_tile(
                    values,
                    scales_ptr,
                    expert,
                    at_n + OUTPUTS,
                    at_k,
                    dtype,
                    FORMAT,
                    EXPERTS,
                    ROWS,
                    INPUTS,
                    BLOCK_N,
                    BLOCK_K,
                    DESCRIPTORS,
                )
                up = product(weight, x, up, FORMAT, SWAP)
        column = at_n + tl.arange(0, BLOCK_N)
        end: tl.constexpr = 2 * OUTPUTS if GATED else OUTPUTS
        total = finished(
            total,
            x_scales_ptr,
            scales_ptr,
            tensor_scales_ptr,
            bias_ptr,
            expert,
            row,
            column,
            end,
            FORMAT,
            ROWS,
            SWAP,
        )
        if GATED:
            up = finished(
                up,
                x_scales_ptr,
                scales_ptr,
                tensor_scales_ptr,
                bias_ptr,
                expert,
                row,
                column + OUTPUTS,
                end,
                FORMAT,
                ROWS,
                SWAP,
            )
            total = gated(total, up, alpha, limit, CLAMPED)
        target = place if GATED else pair
        out_ptrs = out_ptr + target.to(tl.int64)[:, None] * OUTPUTS + column[None, :]
        tl.store(out_ptrs, total.to(out_ptr.dtype.element_ty), (m < count)[:, None] & (column < OUTPUTS)[None, :])


def gate_up_product(
    config: Config, x: Rows, weight: StackedWeight, by_expert: ByExpert, per_row: int, clamp: SwigluClamp | None
) -> Tensor:
    """The activations of x [T, H] by weight [E, 2·I, H], [T·k, I] in the order of the sort."""
    return _launch(config, x, weight, by_expert, per_row, weight.outputs // 2, clamp)


def down_product(config: Config, x: Rows, weight: StackedWeight, by_expert: ByExpert, per_row: int) -> Tensor:
    """The answers to x [T·k, I], in the order of the sort, of weight [E, H, I]: [T·k, H], row by row of the T.

    Those of pairs that go nowhere are undefined.
    """
    return _launch(config, x, weight, by_expert, per_row, weight.outputs, None)


def _launch(
    config: Config,
    x: Rows,
    weight: StackedWeight,
    by_expert: ByExpert,
    per_row: int,
    outputs: int,
    clamp: SwigluClamp | None,
) -> Tensor:
    values, x_scales = (x.values, x.scales) if isinstance(x, Fp8Rows) else (x, None)
    block_m, block_n, block_k = (config.number(f"BLOCK_{dim}") for dim in "MNK")
    pairs = len(by_expert.order)
    tiles = most_tiles(pairs, weight.experts, block_m)
    columns = weight.values.shape[1] if in_panels(weight.format) else block_k
    out = values.new_empty((pairs, outputs), dtype=weight.dtype)
    grouped_matmul_kernel[(tiles * triton.cdiv(outputs, block_n),)](
        values,
        x_scales,
        described(weight.values, block_n, columns, bool(config["DESCRIPTORS"])),
        weight.scales,
        weight.tensor_scales,
        weight.bias,
        out,
        by_expert.order,
        by_expert.maps[TILE_ROWS.index(block_m)],
        tiles,
        0.0 if clamp is None else clamp.alpha,
        0.0 if clamp is None else clamp.limit,
        FORMAT=weight.format,
        EXPERTS=weight.experts,
        EXPERTS_PER_ROW=per_row,
        ROWS=weight.rows,
        INPUTS=weight.inputs,
        OUTPUTS=outputs,
        GATED=outputs < weight.outputs,
        CLAMPED=clamp is not None,
        WAITS=config.waits,
        **config.constants,
        **config.options,
    )
    return out
