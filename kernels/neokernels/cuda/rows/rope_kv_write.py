"""q/k-norm, rotation, and K and V into the paged cache, in one launch.

A program takes some heads of one token, be they queries, keys or values, as two tiles: the lower and the upper half of
each head, so that both numbers of a pair lie in one thread. All is computed in float32 and rounded to the activations'
dtype once, then to the cache's. Few bytes move: a step of one token a request is bound by the launch, of which it
needs one instead of four; a prefill by memory, which reads qkv once and writes as much.
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
from neokernels.device import Device
from neokernels.rope_kv_write import QkNorm, rope_kv_write_reference, rotary_factors_reference
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype

_TILE = 2048
"""Numbers of a program where there are many."""


@triton.jit
def turned(low, high, cos_ptr, sin_ptr, pair, inside, HALF: tl.constexpr):
    """Both halves of rotated heads, in float32, by the factors at the pointers; `inside` is of the shape of a half."""
    low_cos = tl.load(cos_ptr + pair, inside, other=0.0).to(tl.float32)
    low_sin = tl.load(sin_ptr + pair, inside, other=0.0).to(tl.float32)
    high_cos = tl.load(cos_ptr + HALF + pair, inside, other=0.0).to(tl.float32)
    high_sin = tl.load(sin_ptr + HALF + pair, inside, other=0.0).to(tl.float32)
    return low * low_cos + high * low_sin, high * high_cos + low * high_sin


@triton.jit
def _norm_weight(query_weight_ptr, key_weight_ptr, is_query, is_key):
    """Each head's own; tiles as wide as the heads are, so that a thread loads what it multiplies."""
    weight = tl.load(query_weight_ptr, is_query, other=0.0) + tl.load(key_weight_ptr, is_key, other=0.0)
    return weight.to(tl.float32)


@triton.jit
def _rope_kv_write_kernel(
    qkv_ptr,
    cos_ptr,
    sin_ptr,
    slots_ptr,
    query_weight_ptr,
    key_weight_ptr,
    query_ptr,
    key_cache_ptr,
    value_cache_ptr,
    query_heads,
    kv_heads,
    qkv_stride,
    factor_stride,
    key_slot_stride,
    value_slot_stride,
    eps,
    HALF: tl.constexpr,
    PAIRS: tl.constexpr,
    HEADS: tl.constexpr,
    NORMS: tl.constexpr,
    WAITS: tl.constexpr,
):
    tiles = tl.cdiv(query_heads + 2 * kv_heads, HEADS)
    token = (tl.program_id(0) // tiles).to(tl.int64)
    head = (tl.program_id(0) % tiles) * HEADS + tl.arange(0, HEADS)[:, None]
    pair = tl.arange(0, PAIRS)[None, :]
    real = pair < HALF
    is_query = head < query_heads
    is_key = (head >= query_heads) & (head < query_heads + kv_heads)
    is_value = (head >= query_heads + kv_heads) & (head < query_heads + 2 * kv_heads)
    inside = (is_query | is_key | is_value) & real
    if NORMS:
        # Weights are no step's result: they may come while the kernel before still runs.
        low_weight = _norm_weight(query_weight_ptr + pair, key_weight_ptr + pair, is_query & real, is_key & real)
        high_weight = _norm_weight(
            query_weight_ptr + HALF + pair, key_weight_ptr + HALF + pair, is_query & real, is_key & real
        )
    if WAITS:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    at = qkv_ptr + token * qkv_stride + head * (2 * HALF) + pair
    low, high = tl.load(at, inside, other=0.0), tl.load(at + HALF, inside, other=0.0)
    slot = tl.load(slots_ptr + token)
    turned_low, turned_high = low.to(tl.float32), high.to(tl.float32)
    if NORMS:
        squares = tl.sum(turned_low * turned_low, 1) + tl.sum(turned_high * turned_high, 1)
        scale = tl.rsqrt(squares / (2 * HALF) + eps)[:, None]
        turned_low, turned_high = turned_low * scale * low_weight, turned_high * scale * high_weight
    cos, sin = cos_ptr + token * factor_stride, sin_ptr + token * factor_stride
    turned_low, turned_high = turned(turned_low, turned_high, cos, sin, pair, (is_query | is_key) & real, HALF)
    turned_low, turned_high = turned_low.to(low.dtype), turned_high.to(low.dtype)

    query = query_ptr + token * (query_heads * 2 * HALF) + head * (2 * HALF) + pair
    tl.store(query, turned_low, is_query & real)
    tl.store(query + HALF, turned_high, is_query & real)
    if slot >= 0:
        kept: tl.constexpr = key_cache_ptr.dtype.element_ty
        key = key_cache_ptr + slot * key_slot_stride + (head - query_heads) * (2 * HALF) + pair
        tl.store(key, kept_as(turned_low, kept), is_key & real)
        tl.store(key + HALF, kept_as(turned_high, kept), is_key & real)
        value = value_cache_ptr + slot * value_slot_stride + (head - query_heads - kv_heads) * (2 * HALF) + pair
        tl.store(value, kept_as(low, kept), is_value & real)
        tl.store(value + HALF, kept_as(high, kept), is_value & real)


@dataclass(frozen=True)
class RopeWrite(Problem):
    batch_fields: ClassVar = {"tokens": 64}

    tokens: int
    query_heads: int
    kv_heads: int
    head_dim: int
    dtype: str
    kv_dtype: str
    norms: bool
    """Whether queries and keys have a norm."""

    @property
    def heads(self) -> int:
        """Queries, keys and values."""
        return self.query_heads + 2 * self.kv_heads


def rope_kv_write(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    slots: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    qk_norm: QkNorm | None,
    *,
    schedules: Schedules,
) -> Tensor:
    """As `neokernels.rope_kv_write.rope_kv_write_reference`; the heads of a slot lie side by side in either cache."""
    tokens, (kv_heads, head_dim) = len(qkv), key_cache.shape[2:]
    query_heads = qkv.shape[1] // head_dim - 2 * kv_heads
    query = qkv.new_empty((tokens, query_heads, head_dim))
    if not tokens:
        return query
    keys, values = by_slot(key_cache), by_slot(value_cache)
    dtypes = dtype_name(qkv.dtype), dtype_name(key_cache.dtype)
    problem = RopeWrite(tokens, query_heads, kv_heads, head_dim, *dtypes, norms=qk_norm is not None)
    config = schedules.config(ROPE_KV_WRITE, problem)
    # Without a norm no weight is read: anything stands where they would.
    query_weight, key_weight, eps = qk_norm or (cos, cos, 0.0)
    _rope_kv_write_kernel[(tokens * triton.cdiv(problem.heads, config.number("HEADS")),)](
        qkv,
        cos,
        sin,
        slots,
        query_weight,
        key_weight,
        query,
        keys,
        values,
        query_heads,
        kv_heads,
        qkv.stride(0),
        cos.stride(0),
        keys.stride(0),
        values.stride(0),
        eps,
        HALF=head_dim // 2,
        PAIRS=triton.next_power_of_2(head_dim // 2),
        NORMS=qk_norm is not None,
        WAITS=config.waits,
        **config.constants,
        **config.options,
    )
    return query


class RopeKvWrite(TunableKernel[RopeWrite]):
    name = "rope_kv_write"
    problem_type = RopeWrite
    sources = (_rope_kv_write_kernel, turned, _norm_weight, kept_as)
    dependent = True
    knobs = (Knob("HEADS", (1, 2, 4, 8, 16, 32)), Knob("num_warps", (1, 2, 4, 8)), Knob("launch_pdl", (False, True)))
    examples = (
        RopeWrite(64, 32, 8, 128, "bfloat16", "bfloat16", norms=True),
        RopeWrite(8192, 32, 8, 128, "bfloat16", "float8_e4m3fn", norms=False),
        RopeWrite(256, 64, 8, 64, "bfloat16", "bfloat16", norms=False),
    )

    def problems(self, model: ModelShape) -> Iterator[RopeWrite]:
        heads = model.query_heads, model.kv_heads, model.head_dim
        if model.latent is None:
            for tokens in model.rows:
                yield RopeWrite(tokens, *heads, model.dtype, model.kv_dtype, norms=model.qk_norm)

    def heuristic(self, problem: RopeWrite, device: Device) -> Config:
        padded = 2 * triton.next_power_of_2(problem.head_dim // 2)
        heads = max(1, min(_TILE // padded, triton.next_power_of_2(problem.heads)))
        while heads > 1 and problem.tokens * triton.cdiv(problem.heads, heads) < 2 * device.multiprocessors:
            heads //= 2
        return Config(HEADS=heads, num_warps=max(1, heads * padded // PER_WARP), launch_pdl=False)

    def expects(self, problem: RopeWrite, config: Config, device: Device) -> tuple[str, ...]:
        return ("ld.global.v4",)

    def makes_sense(self, problem: RopeWrite, config: Config, device: Device) -> bool:
        tile: int = config.number("HEADS") * 2 * triton.next_power_of_2(problem.head_dim // 2)
        return tile <= 64 * 32 * config.number("num_warps")

    def inputs(self, problem: RopeWrite, draw: Draw) -> Inputs:
        dtype, width = named_dtype(problem.dtype), problem.head_dim
        qkv = draw.normal(problem.tokens, problem.heads * width, dtype=dtype)
        positions = draw.integers(0, 4096, problem.tokens)
        frequencies = 10000.0 ** -(torch.arange(width // 2, device=draw.device) / (width // 2))
        blocks = (2 * problem.tokens) // 16 + 1
        slots = draw.permutation(16 * blocks)[: problem.tokens]
        slots[2::5] = -1
        caches = (
            draw.normal(blocks, 16, problem.kv_heads, width, dtype=named_dtype(problem.kv_dtype)) for _ in range(2)
        )
        norm = None
        if problem.norms:
            norm = QkNorm(draw.normal(width, dtype=dtype), draw.normal(width, dtype=dtype), eps=1e-6)
        return qkv, *rotary_factors_reference(positions, frequencies, dtype), slots, *caches, norm

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        _, _, _, _, key_cache, value_cache, _ = inputs
        return rope_kv_write(*inputs, schedules=schedules), key_cache, value_cache

    def reference(self, inputs: Inputs) -> Outputs:
        _, _, _, _, key_cache, value_cache, _ = inputs
        return rope_kv_write_reference(*inputs), key_cache, value_cache

    def exact(self, inputs: Inputs) -> Outputs:
        qkv, cos, sin, slots, key_cache, value_cache, norm = inputs
        kv_heads, width = key_cache.shape[2:]
        heads = qkv.double().view(len(qkv), -1, width)
        query, key, value = heads.tensor_split([-2 * kv_heads, -kv_heads], dim=1)
        if norm is not None:
            query, key = (
                rows / (rows.square().mean(-1, keepdim=True) + norm.eps).sqrt() * weight.double()
                for rows, weight in ((query, norm.query_weight), (key, norm.key_weight))
            )
        query, key = (exact_rotation(rows, cos, sin) for rows in (query, key))
        return query, exact_cache(key_cache, slots, key), exact_cache(value_cache, slots, value)

    def work(self, problem: RopeWrite) -> Work:
        heads = problem.heads * named_dtype(problem.dtype).itemsize
        written = problem.query_heads * named_dtype(problem.dtype).itemsize
        written += 2 * problem.kv_heads * named_dtype(problem.kv_dtype).itemsize
        factors = 2 * named_dtype(problem.dtype).itemsize
        return Work(nbytes=problem.tokens * (problem.head_dim * (heads + written + factors) + 8))


def exact_rotation(rows: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """rows [T, heads, D] float64, turned by factors [T, D] as they were rounded."""
    return rows * cos.double()[:, None] + rows.roll(rows.shape[-1] // 2, -1) * sin.double()[:, None]


ROPE_KV_WRITE = RopeKvWrite()
