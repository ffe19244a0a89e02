"""Norms, gated activation and rotation into the cache, each row on its own (`rows.c`)."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_float, c_int, c_long, c_void_p
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from neokernels.cpu.library import kernel

if TYPE_CHECKING:
    from neokernels.rope_kv_write import QkNorm


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As `neokernels.rms_norm.rms_norm_reference`."""
    x = x.contiguous()
    y = torch.empty_like(x)
    width = weight.shape[0]
    _rms_norm()(
        x.dtype == torch.bfloat16,
        x.data_ptr(),
        None,
        weight.data_ptr(),
        y.data_ptr(),
        None,
        x.numel() // width,
        width,
        eps,
        torch.get_num_threads(),
    )
    return y


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """As `neokernels.rms_norm.add_rms_norm_reference`."""
    x, residual = x.contiguous(), residual.contiguous()
    y, total = torch.empty_like(x), torch.empty_like(x)
    width = weight.shape[0]
    _rms_norm()(
        x.dtype == torch.bfloat16,
        x.data_ptr(),
        residual.data_ptr(),
        weight.data_ptr(),
        y.data_ptr(),
        total.data_ptr(),
        x.numel() // width,
        width,
        eps,
        torch.get_num_threads(),
    )
    return y, total


def silu_mul(gate_up: Tensor) -> Tensor:
    """As `neokernels.silu_mul.silu_mul_reference`."""
    gate_up = gate_up.contiguous()
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    y = gate_up.new_empty((rows, width))
    _silu_mul()(gate_up.dtype == torch.bfloat16, gate_up.data_ptr(), y.data_ptr(), rows, width, torch.get_num_threads())
    return y


def rope_kv_write(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    slots: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    qk_norm: QkNorm | None,
) -> Tensor:
    """As `neokernels.rope_kv_write.rope_kv_write_reference`."""
    qkv = qkv.contiguous()
    rows = qkv.shape[0]
    kv_heads, head_dim = key_cache.shape[2:]
    query_heads = qkv.shape[1] // head_dim - 2 * kv_heads
    query = qkv.new_empty((rows, query_heads, head_dim))
    query_weight, key_weight, eps = (None, None, 0.0) if qk_norm is None else qk_norm
    _rope_kv_write()(
        qkv.dtype == torch.bfloat16,
        qkv.data_ptr(),
        cos.data_ptr(),
        sin.data_ptr(),
        slots.data_ptr(),
        query.data_ptr(),
        key_cache.data_ptr(),
        value_cache.data_ptr(),
        None if query_weight is None else query_weight.data_ptr(),
        None if key_weight is None else key_weight.data_ptr(),
        rows,
        query_heads,
        kv_heads,
        head_dim,
        eps,
        torch.get_num_threads(),
    )
    return query


@cache
def _rms_norm() -> Callable[..., None]:
    return kernel("rms_norm", c_int, *[c_void_p] * 5, c_long, c_long, c_float, c_int)


@cache
def _silu_mul() -> Callable[..., None]:
    return kernel("silu_mul", c_int, c_void_p, c_void_p, c_long, c_long, c_int)


@cache
def _rope_kv_write() -> Callable[..., None]:
    return kernel("rope_kv_write", c_int, *[c_void_p] * 9, *[c_long] * 4, c_float, c_int)
