"""Tokens quantised by themselves: for a projection whose input no norm or activation could quantise as it made it.

What is computed stands in `formats.fp8` and `formats.nvfp4`.
"""

from __future__ import annotations

from neokernels.cuda.requirements import without_e4m3, without_triton
from neokernels.formats import fp8, nvfp4
from neokernels.launcher import Launcher
from neokernels.registry import Implementation, Operation, any_of

# Maxima, products and conversions of one row each: no other row changes a bit of them.
quantise_fp8 = Operation(
    "quantise_fp8",
    Implementation("triton", Launcher("rows.quantise_rows", "quantise_fp8"), any_of(without_triton, without_e4m3)),
    Implementation("reference", fp8.quantise_activations),
)
quantise_nvfp4 = Operation(
    "quantise_nvfp4",
    Implementation("triton", Launcher("rows.quantise_rows", "quantise_nvfp4"), any_of(without_triton, without_e4m3)),
    Implementation("reference", nvfp4.quantise_activations),
)
