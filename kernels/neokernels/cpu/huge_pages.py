"""Memory in huge pages, for what every step reads from end to end.

In pages of 4 KiB that is a walk through the page table every few lines. Linux gives huge ones where it is asked to, for
memory that nobody has touched: an allocator hands out memory that was used before, so this takes its own.
"""

from __future__ import annotations

import contextlib
import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

HUGE_PAGE = 2 << 20
"""Bytes of one on x86_64, and the smallest on aarch64."""


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """As `torch.empty` on a CPU; what is smaller than a huge page lies as torch lays it."""
    size = math.prod(shape) * dtype.itemsize
    if size >= HUGE_PAGE:
        with contextlib.suppress(OSError):  # no such pages, or no room: then torch finds some or says so
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory.madvise(mmap.MADV_HUGEPAGE)
            return torch.frombuffer(memory, dtype=dtype).view(*shape)
    return torch.empty(*shape, dtype=dtype)
