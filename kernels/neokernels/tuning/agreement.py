"""Whether what a schedule computes is what the reference computes: a check of schedules, not of rounding.

A tuner's problems are too large for a truth in float64, so each number is held to the reference in its own type, with
room for another order of sums. How near a kernel is to the truth is for tests with small problems to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

ROUNDING = {torch.float64: 1e-12, torch.float32: 3e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Relative error of a number rounded to its type, with some room."""
_NARROW_ROUNDING = 0.125
"""Of eight-bit floats."""
_ROOM = 16
"""Times the rounding that one number of an output may be off by: sums come in another order, a wrong tile is off by
hundreds of times as much."""
_EQUAL_SHARE = 0.95
"""Of whole numbers: choices between near-equal values and packed codes differ here and there."""


def disagreement(outputs: Sequence[Tensor], references: Sequence[Tensor]) -> str | None:
    """What is wrong with `outputs` beside `references`, in one line; None when nothing is."""
    if len(outputs) != len(references):
        return f"{len(outputs)} outputs, {len(references)} expected"
    for index, (output, reference) in enumerate(zip(outputs, references, strict=True)):
        if (output.shape, output.dtype) != (reference.shape, reference.dtype):
            return (
                f"output {index} is {output.dtype} {list(output.shape)}, not {reference.dtype} {list(reference.shape)}"
            )
        fault = _difference(output, reference)
        if fault is not None:
            return f"output {index}: {fault}"
    return None


@contextmanager
def poisoned() -> Iterator[None]:
    """Within, what a kernel does not write is NaN, or the largest integer."""
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # torch types none of its settings
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        memory.fill_uninitialized_memory = filled


def _difference(output: Tensor, reference: Tensor) -> str | None:
    if not reference.numel():
        return None
    if not reference.dtype.is_floating_point:
        share = float((output == reference).float().mean())
        return None if share >= _EQUAL_SHARE else f"{1 - share:.1%} of its numbers differ"
    out, true = output.float(), reference.float()
    strange = (~out.isfinite() | ~true.isfinite()) & ~((out == true) | (out.isnan() & true.isnan()))
    if strange.any():
        return f"{int(strange.sum())} numbers are not finite where they should be, or the other way round"
    out, true = (torch.where(t.isfinite(), t, 0.0) for t in (out, true))
    scale = true.abs() + true.square().mean().sqrt()
    error = ((out - true).abs() / scale.clamp_min(torch.finfo(torch.float32).tiny)).max()
    allowed = _ROOM * ROUNDING.get(reference.dtype, _NARROW_ROUNDING)
    return None if error <= allowed else f"a number is off by {float(error):.2g} of its size, {allowed:.2g} allowed"
