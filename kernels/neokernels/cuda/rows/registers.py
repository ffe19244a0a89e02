"""How much of its rows a program holds in registers."""

from __future__ import annotations

import triton

from neokernels.tuning.space import Config

PER_WARP = 512
"""Sixteen numbers a thread: two loads of sixteen bytes of bfloat16."""


def holds_rows(config: Config, width: int) -> bool:
    """Whether threads of a program with ROWS whole rows have work and registers enough; one row always may be tried.

    Rows of `width` numbers are filled up to a power of two.
    """
    numbers = config.number("ROWS") * triton.next_power_of_2(width)
    return 4 <= numbers / (32 * config.number("num_warps")) <= 64 or config.number("ROWS") == 1
