"""A sum over K that several programs share, added up by the last of them in one launch and always in one order."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config


@triton.jit
def leave_part(total, parts_ptr, arrivals_ptr, tile, part, PARTS: tl.constexpr):
    """Leave one part of a tile's sum, float32; returns whether all others have been left before.

    `parts_ptr` has room for PARTS sums a tile, `arrivals_ptr` a zero a tile.
    """
    size: tl.constexpr = total.shape[0] * total.shape[1]
    within = tl.arange(0, total.shape[0])[:, None] * total.shape[1] + tl.arange(0, total.shape[1])[None, :]
    tl.store(parts_ptr + (tile.to(tl.int64) * PARTS + part) * size + within, total)
    # Every thread has written before one of them tells so.
    tl.debug_barrier()
    return tl.atomic_add(arrivals_ptr + tile, 1, sem="acq_rel") == PARTS - 1


@triton.jit
def sum_of_parts(parts_ptr, arrivals_ptr, tile, PARTS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """The sum of what was left, in the order of the parts, and the zero again: for the program that was last."""
    within = tl.arange(0, HEIGHT)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    parts_ptr += tile.to(tl.int64) * (PARTS * HEIGHT * WIDTH)
    total = tl.zeros((HEIGHT, WIDTH), tl.float32)
    for part in range(PARTS):
        total += tl.load(parts_ptr + part * (HEIGHT * WIDTH) + within, cache_modifier=".cg")
    tl.store(arrivals_ptr + tile, 0)
    return total


def no_arrivals(outputs: int, device: torch.device) -> Tensor:
    """Zeros for a weight of so many outputs, which every call leaves as zeros; no two calls may share them at once."""
    return torch.zeros(outputs, dtype=torch.int32, device=device)


def splits_of(config: Config, tiles: int, arrivals: Tensor, schedules: Schedules) -> int:
    """How many programs share the sum of a tile.

    A promise about a row's bits holds for any number of rows, and for many a sum is not split.
    """
    return 1 if schedules.batch_invariant or tiles > len(arrivals) else config.number("SPLITS")


def room_for_parts(config: Config, tiles: int, splits: int, device: torch.device) -> Tensor:
    """What `leave_part` writes to, float32; empty where no sum is split."""
    numbers = config.number("BLOCK_M") * config.number("BLOCK_N")
    return torch.empty(tiles * splits * numbers if splits > 1 else 0, dtype=torch.float32, device=device)
