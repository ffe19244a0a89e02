"""How kernels put rows into a paged cache, whatever dtype it keeps: `neokernels.cached_rows` for who writes them."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from neokernels.formats.fp8 import LARGEST

_LARGEST = tl.constexpr(LARGEST)


@triton.jit
def kept_as(x, dtype: tl.constexpr):
    """x as a cache of `dtype` keeps it: e4m3 ends at ±448, and NaN stays NaN."""
    if dtype == tl.float8e4nv:
        x = tl.clamp(x.to(tl.float32), -_LARGEST, _LARGEST, propagate_nan=tl.PropagateNan.ALL)
    return x.to(dtype)


def by_slot(cache: Tensor) -> Tensor:
    """cache [blocks, block tokens, ...] as [slots, ...], the memory it lies in; RuntimeError where its slots do not lie
    evenly."""
    return cache.view(-1, *cache.shape[2:])


def exact_cache(cache: Tensor, slots: Tensor, rows: Tensor) -> Tensor:
    """What a cache holds, in float64, when rows [S, heads, D] are written at slots [S] without being rounded; slot -1
    writes nothing. Rows lie within the range of the cache's dtype."""
    wide, written = cache.double(), slots >= 0
    by_slot(wide)[slots[written]] = rows[written]
    return wide
