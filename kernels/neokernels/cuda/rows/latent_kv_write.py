"""Latent attention's step from projections to cache: norm, rotation and write in one launch.

The first program of a token norms its latent, rotates the key beside it and writes both as one row of the cache; the
others rotate some of its queries each. Rotation and rounding are those of `rope_kv_write` beside this. At a decode
step the launch is the bound, of which this is one for six; for a prompt it is memory, each number read and written
once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels.cuda.rows.cache_rows import by_slot, exact_cache, kept_as
from neokernels.cuda.rows.registers import PER_WARP
from neokernels.cuda.rows.rope_kv_write import exact_rotation, turned
from neokernels.device import Device
from neokernels.latent_kv_write import latent_kv_write_reference
from neokernels.rope_kv_write import rotary_factors_reference
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype

_TILE = 1024
"""Numbers of queries in a program where there are many; the latent of a token is half as much."""


@triton.jit
def _latent_kv_write_kernel(
    query_ptr,
    latent_ptr,
    cos_ptr,
    sin_ptr,
    slots_ptr,
    weight_ptr,
    out_ptr,
    cache_ptr,
    heads,
    query_stride,
    head_stride,
    latent_stride,
    factor_stride,
    slot_stride,
    eps,
    RANK: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
    HALF: tl.constexpr,
    PAIRS: tl.constexpr,
    HEADS: tl.constexpr,
    WAITS: tl.constexpr,
):
    programs = 1 + tl.cdiv(heads, HEADS)
    token = (tl.program_id(0) // programs).to(tl.int64)
    part = tl.program_id(0) % programs
    cos, sin = cos_ptr + token * factor_stride, sin_ptr + token * factor_stride
    pair = tl.arange(0, PAIRS)[None, :]
    if WAITS:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    if part == 0:
        slot = tl.load(slots_ptr + token)
        if slot >= 0:
            kept: tl.constexpr = cache_ptr.dtype.element_ty
            row, latent = cache_ptr + slot * slot_stride, latent_ptr + token * latent_stride
            column = tl.arange(0, RANK_BLOCK)
            weight = tl.load(weight_ptr + column, column < RANK, other=0.0).to(tl.float32)
            narrow = tl.load(latent + column, column < RANK, other=0.0)
            wide = narrow.to(tl.float32)
            normed = wide * tl.rsqrt(tl.sum(wide * wide) / RANK + eps) * weight
            tl.store(row + column, kept_as(normed.to(narrow.dtype), kept), column < RANK)
            low = tl.load(latent + RANK + pair, pair < HALF, other=0.0)
            high = tl.load(latent + RANK + HALF + pair, pair < HALF, other=0.0)
            turned_low, turned_high = turned(low.to(tl.float32), high.to(tl.float32), cos, sin, pair, pair < HALF, HALF)
            tl.store(row + RANK + pair, kept_as(turned_low.to(low.dtype), kept), pair < HALF)
            tl.store(row + RANK + HALF + pair, kept_as(turned_high.to(low.dtype), kept), pair < HALF)
    else:
        head = (part - 1) * HEADS + tl.arange(0, HEADS)[:, None]
        inside = (head < heads) & (pair < HALF)
        at = query_ptr + token * query_stride + head * head_stride + pair
        low, high = tl.load(at, inside, other=0.0), tl.load(at + HALF, inside, other=0.0)
        turned_low, turned_high = turned(low.to(tl.float32), high.to(tl.float32), cos, sin, pair, inside, HALF)
        out = out_ptr + (token * heads + head) * (2 * HALF) + pair
        tl.store(out, turned_low.to(low.dtype), inside)
        tl.store(out + HALF, turned_high.to(low.dtype), inside)


@dataclass(frozen=True)
class LatentWrite(Problem):
    batch_fields: ClassVar = {"tokens": 64}

    tokens: int
    heads: int
    rank: int
    rotary_dim: int
    dtype: str
    kv_dtype: str


def latent_kv_write(
    query: Tensor,
    latent: Tensor,
    cos: Tensor,
    sin: Tensor,
    slots: Tensor,
    cache: Tensor,
    norm_weight: Tensor,
    eps: float,
    *,
    schedules: Schedules,
) -> Tensor:
    """As `neokernels.latent_kv_write.latent_kv_write_reference`."""
    tokens, heads, rotary_dim = query.shape
    out = query.new_empty(query.shape)
    if not tokens:
        return out
    (rank,), rows = norm_weight.shape, by_slot(cache)
    problem = LatentWrite(tokens, heads, rank, rotary_dim, dtype_name(query.dtype), dtype_name(cache.dtype))
    config = schedules.config(LATENT_KV_WRITE, problem)
    _latent_kv_write_kernel[(tokens * (1 + triton.cdiv(heads, config.number("HEADS"))),)](
        query,
        latent,
        cos,
        sin,
        slots,
        norm_weight,
        out,
        rows,
        heads,
        query.stride(0),
        query.stride(1),
        latent.stride(0),
        cos.stride(0),
        rows.stride(0),
        eps,
        RANK=rank,
        RANK_BLOCK=triton.next_power_of_2(rank),
        HALF=rotary_dim // 2,
        PAIRS=triton.next_power_of_2(rotary_dim // 2),
        WAITS=config.waits,
        **config.constants,
        **config.options,
    )
    return out


class LatentKvWrite(TunableKernel[LatentWrite]):
    name = "latent_kv_write"
    problem_type = LatentWrite
    sources = (_latent_kv_write_kernel, turned, kept_as)
    dependent = True
    knobs = (Knob("HEADS", (4, 8, 16, 32, 64)), Knob("num_warps", (1, 2, 4)), Knob("launch_pdl", (False, True)))
    examples = (
        LatentWrite(64, 128, 512, 64, "bfloat16", "bfloat16"),
        LatentWrite(8192, 16, 512, 64, "bfloat16", "float8_e4m3fn"),
    )

    def problems(self, model: ModelShape) -> Iterator[LatentWrite]:
        if model.latent is not None:
            dims = model.query_heads, model.latent.rank, model.latent.rotary_dim
            for tokens in model.rows:
                yield LatentWrite(tokens, *dims, model.dtype, model.kv_dtype)

    def heuristic(self, problem: LatentWrite, device: Device) -> Config:
        padded = 2 * triton.next_power_of_2(problem.rotary_dim // 2)
        heads = max(1, min(_TILE // padded, triton.next_power_of_2(problem.heads)))
        while heads > 4 and problem.tokens * triton.cdiv(problem.heads, heads) < 2 * device.multiprocessors:
            heads //= 2
        return Config(HEADS=heads, num_warps=max(1, heads * padded // PER_WARP), launch_pdl=False)

    def expects(self, problem: LatentWrite, config: Config, device: Device) -> tuple[str, ...]:
        return ("ld.global.v4",)

    def makes_sense(self, problem: LatentWrite, config: Config, device: Device) -> bool:
        return config.number("HEADS") <= max(4, 2 * problem.heads)

    def inputs(self, problem: LatentWrite, draw: Draw) -> Inputs:
        dtype, rotary = named_dtype(problem.dtype), problem.rotary_dim
        # Queries lie behind the part of each head that is not rotated, as a projection gives them.
        heads = draw.normal(problem.tokens, problem.heads, 2 * rotary, dtype=dtype)
        latent = draw.normal(problem.tokens, problem.rank + rotary, dtype=dtype)
        positions = draw.integers(0, 4096, problem.tokens)
        frequencies = 10000.0 ** -(torch.arange(rotary // 2, device=draw.device) / (rotary // 2))
        blocks = (2 * problem.tokens) // 16 + 1
        slots = draw.permutation(16 * blocks)[: problem.tokens]
        slots[2::5] = -1
        cache = draw.normal(blocks, 16, 1, problem.rank + rotary, dtype=named_dtype(problem.kv_dtype))
        factors = rotary_factors_reference(positions, frequencies, dtype)
        return heads[..., rotary:], latent, *factors, slots, cache, draw.normal(problem.rank, dtype=dtype), 1e-6

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return latent_kv_write(*inputs, schedules=schedules), inputs[5]

    def reference(self, inputs: Inputs) -> Outputs:
        return latent_kv_write_reference(*inputs), inputs[5]

    def exact(self, inputs: Inputs) -> Outputs:
        query, latent, cos, sin, slots, cache, weight, eps = inputs
        kept, key = latent.double().tensor_split([len(weight)], -1)
        kept = kept / (kept.square().mean(-1, keepdim=True) + eps).sqrt() * weight.double()
        rows = torch.cat((kept[:, None], exact_rotation(key[:, None], cos, sin)), -1)
        return exact_rotation(query.double(), cos, sin), exact_cache(cache, slots, rows)

    def work(self, problem: LatentWrite) -> Work:
        row, queries = problem.rank + problem.rotary_dim, problem.heads * problem.rotary_dim
        item, kept = named_dtype(problem.dtype).itemsize, named_dtype(problem.kv_dtype).itemsize
        return Work(nbytes=problem.tokens * (item * (2 * queries + row + 2 * problem.rotary_dim) + kept * row + 8))


LATENT_KV_WRITE = LatentKvWrite()
