"""Root-mean-square normalisation, with and without the residual sum in front.

y = x / sqrt(mean(x²) + eps) · w

Source: Zhang & Sennrich 2019 (arXiv:1910.07467) eq. 4, with Llama's eps. The mean and the quotient are taken in float32
whatever the dtype; the product with the weight is taken in the dtype of x, as transformers' Llama and Qwen3 do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neokernels.cpu import library, rows
from neokernels.cuda.requirements import without_triton
from neokernels.launcher import Launcher
from neokernels.registry import Implementation, Operation, promises_nothing, unless_asked
from neokernels.row_tiles import in_tiles


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [..., H], weight [H]; returns the shape and dtype of x."""
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


def add_rms_norm_reference(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Normalises residual + x; x and residual [..., H], weight [H]. Returns the normalised sum and the sum."""
    total = residual + x
    return rms_norm_reference(total, weight, eps), total


def rms_norm_in_tiles(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As `rms_norm_reference`, batch-invariant."""
    return in_tiles(lambda tile: rms_norm_reference(tile, weight, eps), x)


def add_rms_norm_in_tiles(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """As `add_rms_norm_reference`, batch-invariant."""
    total = residual + x
    return rms_norm_in_tiles(total, weight, eps), total


rms_norm = Operation(
    "rms_norm",
    Implementation("cpu", rows.rms_norm, library.refuses, source="c"),
    Implementation("triton", Launcher("rows.rms_norm", "rms_norm"), without_triton),
    Implementation("reference", rms_norm_reference, promises_nothing),
    Implementation("fixed_tiles", rms_norm_in_tiles, unless_asked),
)
add_rms_norm = Operation(
    "add_rms_norm",
    Implementation("cpu", rows.add_rms_norm, library.refuses, source="c"),
    Implementation("triton", Launcher("rows.rms_norm", "add_rms_norm"), without_triton),
    Implementation("reference", add_rms_norm_reference, promises_nothing),
    Implementation("fixed_tiles", add_rms_norm_in_tiles, unless_asked),
)
