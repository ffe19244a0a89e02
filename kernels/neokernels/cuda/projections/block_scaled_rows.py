"""Activations in the formats that `fp4_scaled_matmul` multiplies, by their references."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from neokernels.formats import mx_rows, nvfp4
from neokernels.formats.mx_rows import MxRows
from neokernels.formats.nvfp4 import Nvfp4Rows

Form = Literal["mxfp8", "mxfp4", "nvfp4"]
"""The first two are for weights in MXFP4, the last for those in NVFP4."""
Rows = MxRows | Nvfp4Rows


def form_of(rows: Rows) -> Form:
    if isinstance(rows, Nvfp4Rows):
        return "nvfp4"
    return "mxfp8" if rows.element == "e4m3" else "mxfp4"


def quantised(x: Tensor, form: Form) -> Rows:
    """x [T, K] of any floating dtype."""
    if form == "nvfp4":
        return nvfp4.quantise_activations(x)
    return mx_rows.quantise_activations(x, "e4m3" if form == "mxfp8" else "e2m1")


def dequantised(rows: Rows, dtype: torch.dtype) -> Tensor:
    """[T, K] in `dtype`."""
    if isinstance(rows, Nvfp4Rows):
        return nvfp4.dequantise_activations(rows, dtype)
    return mx_rows.dequantise_activations(rows, dtype)
