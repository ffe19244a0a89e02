"""Rows of a paged cache, written from what a step computed and read back for attention, whatever dtype it keeps.

A float8 cache has scale 1: keys and values beyond ±448 are kept as ±448. That is what serving engines do by default
where a checkpoint brings no scales; keys and values of trained models lie well inside.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neokernels.formats import fp8


def write_rows(cache: Tensor, slots: Tensor, rows: Tensor) -> None:
    """Put rows [S, heads, D] at slots [S] int64 of cache [blocks, block tokens, heads, D]; slot -1 writes nothing."""
    if cache.dtype == fp8.E4M3:
        rows = fp8.saturated(rows).view(torch.uint8)
        cache = cache.view(torch.uint8)  # which every operation on indices takes
    kept, rows = cache.flatten(0, 1), rows.to(cache.dtype)
    if slots.is_cuda:
        slots, rows = none_negative(kept, slots, rows)
    elif int(slots.min()) < 0:
        written = slots >= 0
        slots, rows = slots[written], rows[written]
    kept.index_copy_(0, slots, rows)


def none_negative(kept: Tensor, slots: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Slots and rows that write the same into kept [slots, heads, D] as those with -1 among them.

    A CUDA graph can hold this, where it could not hold a selection: how many rows it lets through is read on the host.
    What would write nothing repeats the write of a row that does; where none does, slot 0 gets what it holds.
    """
    source = torch.where(slots < 0, slots.argmax(), torch.arange(len(slots), device=slots.device))
    slots, rows = slots[source], rows[source]
    return slots.clamp(min=0), torch.where((slots < 0)[:, None, None], kept[0], rows)


def read_rows(cache: Tensor, slots: Tensor, dtype: torch.dtype) -> Tensor:
    """[S, heads, D] in `dtype`: what lies at slots [S] int64 of cache [blocks, block tokens, heads, D]."""
    if cache.dtype == fp8.E4M3:
        return fp8.widened(cache.view(torch.uint8).flatten(0, 1).index_select(0, slots).view(fp8.E4M3), dtype)
    return cache.flatten(0, 1).index_select(0, slots).to(dtype)
