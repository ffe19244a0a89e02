"""The gated activation of SwiGLU, quantised for the projection that reads it.

As `neokernels.silu_mul` says, then token by token as `formats.fp8` or `formats.nvfp4` says. The activation is rounded
to the dtype of its inputs in between: the result is what a projection makes of one that it gets unquantised.
"""

from __future__ import annotations

from torch import Tensor

from neokernels.cpu import library, rows
from neokernels.cuda.requirements import without_e4m3, without_triton
from neokernels.formats import fp8, nvfp4
from neokernels.formats.fp8 import Fp8Rows
from neokernels.formats.nvfp4 import Nvfp4Rows
from neokernels.launcher import Launcher
from neokernels.registry import Implementation, Operation, any_of, promises_nothing, unless_asked
from neokernels.silu_mul import silu_mul_one_by_one, silu_mul_reference


def silu_mul_fp8_reference(gate_up: Tensor) -> Fp8Rows:
    """gate_up [T, 2·I] as for `silu_mul`; returns [T, I]."""
    return fp8.quantise_activations(silu_mul_reference(gate_up))


def silu_mul_nvfp4_reference(gate_up: Tensor) -> Nvfp4Rows:
    """gate_up [T, 2·I] as for `silu_mul`; returns [T, I]."""
    return nvfp4.quantise_activations(silu_mul_reference(gate_up))


silu_mul_fp8 = Operation(
    "silu_mul_fp8",
    Implementation("cpu", lambda x: fp8.quantise_activations(rows.silu_mul(x)), library.refuses, source="c"),
    Implementation("triton", Launcher("rows.silu_mul_quantised", "silu_mul_fp8"), any_of(without_triton, without_e4m3)),
    Implementation("reference", silu_mul_fp8_reference, promises_nothing),
    Implementation("one_by_one", lambda x: fp8.quantise_activations(silu_mul_one_by_one(x)), unless_asked),
)
silu_mul_nvfp4 = Operation(
    "silu_mul_nvfp4",
    Implementation("cpu", lambda x: nvfp4.quantise_activations(rows.silu_mul(x)), library.refuses, source="c"),
    Implementation(
        "triton", Launcher("rows.silu_mul_quantised", "silu_mul_nvfp4"), any_of(without_triton, without_e4m3)
    ),
    Implementation("reference", silu_mul_nvfp4_reference, promises_nothing),
    Implementation("one_by_one", lambda x: nvfp4.quantise_activations(silu_mul_one_by_one(x)), unless_asked),
)
