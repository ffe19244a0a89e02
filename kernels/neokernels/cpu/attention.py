"""Attention straight from the paged cache (`attention.c`)."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_float, c_int, c_long, c_void_p
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from neokernels.cpu.library import kernel

if TYPE_CHECKING:
    from neokernels.paged_attention import PagedLayout


def paged_attention(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    layout: PagedLayout,
    scale: float,
    window: int | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """As `neokernels.paged_attention.paged_attention_reference`."""
    query = query.contiguous()
    rows, query_heads, key_dim = query.shape
    kv_heads, value_dim = value_cache.shape[2:]
    y = query.new_empty((rows, query_heads, value_dim))
    lengths, tables = layout.on_device, layout.block_tables
    logits = None if sinks is None else sinks.float()
    _paged_attention()(
        query.dtype == torch.bfloat16,
        query.data_ptr(),
        key_cache.data_ptr(),
        value_cache.data_ptr(),
        y.data_ptr(),
        None if logits is None else logits.data_ptr(),
        lengths.query_starts.data_ptr(),
        lengths.context_lens.data_ptr(),
        tables.data_ptr(),
        tables.shape[0],
        rows,
        query_heads,
        kv_heads,
        key_dim,
        value_dim,
        key_cache.stride(1),
        value_cache.stride(1),
        key_cache.stride(2),
        value_cache.stride(2),
        tables.stride(0),
        layout.block_tokens,
        window or 0,
        scale,
        torch.get_num_threads(),
    )
    return y


@cache
def _paged_attention() -> Callable[..., None]:
    return kernel("paged_attention", c_int, *[c_void_p] * 8, *[c_long] * 13, c_float, c_int)
