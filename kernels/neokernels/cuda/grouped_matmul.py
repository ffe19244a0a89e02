"""Rows of each expert through its own projection, in one launch that learns on the device whose rows there are.

A program takes one tile of one expert's rows, as `neokernels.cuda.expert_sort` maps them, and some of its outputs.
Programs beyond the last tile end at once, so that a CUDA graph can hold the launch. The projection to gate and up
gathers its rows through the order of the sort, multiplies matching columns of both and applies the activation before
anything is written; the projection down reads what that wrote and puts each answer where its pair of row and expert
belongs. So the only traffic beside weights is x, the activations and the answers, once each.

With few rows an expert the operands are swapped: tensor cores take 64 rows or more on their left and 8 or more on their
right, and the weight has them. Weights in MXFP4 are decoded in registers (`neokernels.cuda.fp4_decode`), from where
Hopper multiplies a left operand as it is. The sum over inputs is in one order, and none of a row with another: the bits
of a row depend on the schedule alone.

Bounds: with few rows the bytes of the experts that are touched; from some 300 rows an expert on the tensor cores.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from neokernels.cuda.expert_sort import TILE_ROWS, ByExpert, most_tiles
from neokernels.cuda.expert_weights import StackedWeight
from neokernels.cuda.fp4_decode import fp4_weights
from neokernels.cuda.silu_mul import gated
from neokernels.cuda.tiles import described, load_tile, tile_of
from neokernels.formats.fp4_panels import PANEL
from neokernels.silu_mul import SwigluClamp
from neokernels.tuning.space import Config

_PANEL = tl.constexpr(PANEL)


@triton.jit
def weight_tile(
    values,
    scales_ptr,
    expert,
    at_n,
    at_k,
    dtype: tl.constexpr,
    EXPERTS: tl.constexpr,
    ROWS: tl.constexpr,
    INPUTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
):
    """[BLOCK_N, BLOCK_K] of an expert's weight. What lies beyond its outputs is of another's, or zero."""
    if scales_ptr is None:
        tile = load_tile(
            values, expert * ROWS + at_n, at_k, EXPERTS * ROWS, INPUTS, INPUTS, BLOCK_N, BLOCK_K, DESCRIPTORS
        )
    else:
        panels: tl.constexpr = (INPUTS + _PANEL - 1) // _PANEL
        words: tl.constexpr = _PANEL // 8
        blocks: tl.constexpr = _PANEL // 32
        row = (expert * panels + at_k // _PANEL) * ROWS + at_n
        code = load_tile(values, row, 0, EXPERTS * panels * ROWS, words, words, BLOCK_N, words, DESCRIPTORS)
        scale = load_tile(scales_ptr, row, 0, EXPERTS * panels * ROWS, blocks, blocks, BLOCK_N, blocks, False)
        tile = fp4_weights(code, scale, dtype)
    return tile


@triton.jit
def product(weight, x, total, SWAP: tl.constexpr):
    if SWAP:
        total = tl.dot(weight, x.T, total, input_precision="ieee")
    else:
        total = tl.dot(x, weight.T, total, input_precision="ieee")
    return total


@triton.jit
def finished(total, tensor_scales_ptr, bias_ptr, expert, column, outputs, SWAP: tl.constexpr):
    """Sums as [BLOCK_M, BLOCK_N], with the matrix's scale and with its bias where there are any."""
    if SWAP:
        total = total.T
    if tensor_scales_ptr is not None:
        total *= tl.load(tensor_scales_ptr + expert)
    if bias_ptr is not None:
        total += tl.load(bias_ptr + expert * outputs + column, column < outputs, other=0.0).to(tl.float32)[None, :]
    return total


@triton.jit(do_not_specialize=["tiles"])
def grouped_matmul_kernel(
    x_ptr,
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
            if INPUTS % BLOCK_K:
                x = tl.load(x_ptrs + at_k, (at_k + k < INPUTS)[None, :], other=0.0)
            else:
                x = tl.load(x_ptrs + at_k)
            weight = weight_tile(
                values, scales_ptr, expert, at_n, at_k, dtype, EXPERTS, ROWS, INPUTS, BLOCK_N, BLOCK_K, DESCRIPTORS
            )
            total = product(weight, x, total, SWAP)
            if GATED:
                weight = weight_tile(
                    values,
                    scales_ptr,
                    expert,
                    at_n + OUTPUTS,
                    at_k,
                    dtype,
                    EXPERTS,
                    ROWS,
                    INPUTS,
                    BLOCK_N,
                    BLOCK_K,
                    DESCRIPTORS,
                )
                up = product(weight, x, up, SWAP)
        column = at_n + tl.arange(0, BLOCK_N)
        if GATED:
            total = finished(total, tensor_scales_ptr, bias_ptr, expert, column, 2 * OUTPUTS, SWAP)
            up = finished(up, tensor_scales_ptr, bias_ptr, expert, column + OUTPUTS, 2 * OUTPUTS, SWAP)
            total = gated(total, up, alpha, limit, CLAMPED)
        else:
            total = finished(total, tensor_scales_ptr, bias_ptr, expert, column, OUTPUTS, SWAP)
        target = place if GATED else pair
        out_ptrs = out_ptr + target.to(tl.int64)[:, None] * OUTPUTS + column[None, :]
        tl.store(out_ptrs, total.to(out_ptr.dtype.element_ty), (m < count)[:, None] & (column < OUTPUTS)[None, :])
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


def gate_up_product(
    config: Config, x: Tensor, weight: StackedWeight, by_expert: ByExpert, per_row: int, clamp: SwigluClamp | None
) -> Tensor:
    """The activations of x [T, H] by weight [E, 2·I, H], [T·k, I] in the order of the sort."""
    out = x.new_empty((len(by_expert.order), weight.outputs // 2))
    _launch(config, x, weight, by_expert, per_row, out, True, clamp)
    return out


def down_product(config: Config, x: Tensor, weight: StackedWeight, by_expert: ByExpert, per_row: int) -> Tensor:
    """The answers to x [T·k, I], in the order of the sort, of weight [E, H, I]: [T·k, H], row by row of the T.

    Those of pairs that go nowhere are undefined.
    """
    out = x.new_empty((len(by_expert.order), weight.outputs))
    _launch(config, x, weight, by_expert, per_row, out, False, None)
    return out


def _launch(
    config: Config,
    x: Tensor,
    weight: StackedWeight,
    by_expert: ByExpert,
    per_row: int,
    out: Tensor,
    is_gated: bool,
    clamp: SwigluClamp | None,
) -> None:
    block_m, block_n, block_k = (config.number(f"BLOCK_{dim}") for dim in "MNK")
    pairs, outputs = out.shape
    tiles = most_tiles(pairs, weight.experts, block_m)
    columns = block_k if weight.scales is None else weight.values.shape[1]
    grouped_matmul_kernel[(tiles * triton.cdiv(outputs, block_n),)](
        x,
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
        EXPERTS=weight.experts,
        EXPERTS_PER_ROW=per_row,
        ROWS=weight.rows,
        INPUTS=weight.inputs,
        OUTPUTS=outputs,
        GATED=is_gated,
        CLAMPED=clamp is not None,
        WAITS=config.waits,
        **config.constants,
        **config.options,
    )
