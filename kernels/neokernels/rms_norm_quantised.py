"""The residual sum and its RMS norm, quantised for the projections that read it.

As `neokernels.rms_norm` says, then token by token as `formats.fp8` or `formats.nvfp4` says. The norm is rounded to the
dtype of x in between: the result is what a projection makes of the norm that it gets unquantised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from neokernels.cpu import library, rows
from neokernels.cuda.requirements import without_e4m3, without_triton
from neokernels.formats import fp8, nvfp4
from neokernels.formats.fp8 import Fp8Rows
from neokernels.formats.nvfp4 import Nvfp4Rows
from neokernels.launcher import Launcher
from neokernels.registry import Implementation, Operation, any_of, promises_nothing, unless_asked
from neokernels.rms_norm import add_rms_norm_in_tiles, add_rms_norm_reference

Norm = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
Q = TypeVar("Q")


def add_rms_norm_fp8_reference(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Fp8Rows, Tensor]:
    """x and residual [T, H], weight [H]. Returns the normalised sum, quantised, and the sum."""
    return _then(fp8.quantise_activations, add_rms_norm_reference)(x, residual, weight, eps)


def add_rms_norm_nvfp4_reference(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Nvfp4Rows, Tensor]:
    """x and residual [T, H], weight [H]. Returns the normalised sum, quantised, and the sum."""
    return _then(nvfp4.quantise_activations, add_rms_norm_reference)(x, residual, weight, eps)


def _then(quantise: Callable[[Tensor], Q], norm: Norm) -> Callable[[Tensor, Tensor, Tensor, float], tuple[Q, Tensor]]:
    """`norm` with its first result quantised."""

    def quantised(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Q, Tensor]:
        normalised, total = norm(x, residual, weight, eps)
        return quantise(normalised), total

    return quantised


add_rms_norm_fp8 = Operation(
    "add_rms_norm_fp8",
    Implementation("cpu", _then(fp8.quantise_activations, rows.add_rms_norm), library.refuses, source="c"),
    Implementation(
        "triton", Launcher("rows.rms_norm_quantised", "add_rms_norm_fp8"), any_of(without_triton, without_e4m3)
    ),
    Implementation("reference", add_rms_norm_fp8_reference, promises_nothing),
    Implementation("fixed_tiles", _then(fp8.quantise_activations, add_rms_norm_in_tiles), unless_asked),
)
add_rms_norm_nvfp4 = Operation(
    "add_rms_norm_nvfp4",
    Implementation("cpu", _then(nvfp4.quantise_activations, rows.add_rms_norm), library.refuses, source="c"),
    Implementation(
        "triton", Launcher("rows.rms_norm_quantised", "add_rms_norm_nvfp4"), any_of(without_triton, without_e4m3)
    ),
    Implementation("reference", add_rms_norm_nvfp4_reference, promises_nothing),
    Implementation("fixed_tiles", _then(nvfp4.quantise_activations, add_rms_norm_in_tiles), unless_asked),
)
