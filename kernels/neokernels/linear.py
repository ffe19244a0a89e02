"""A projection whose weight is prepared once, for whatever reads it fastest, in the format it is kept in.

y = x Wᵀ + b
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear

from neokernels.cpu import library
from neokernels.cpu.linear import Int8PanelLinear, PanelLinear
from neokernels.cuda.requirements import without_block_scales, without_e4m3, without_triton
from neokernels.formats import mxfp4, nvfp4
from neokernels.launcher import Launcher
from neokernels.linear_quantised import (
    Fp8Linear,
    Int8Linear,
    Multiply,
    PackedInt8Linear,
    ScaledFp8Linear,
    WeightOnlyLinear,
    without_packed_int8,
    without_scaled_product,
)
from neokernels.registry import (
    Implementation,
    Operation,
    Refuses,
    Target,
    WeightFormat,
    any_of,
    promises_nothing,
    unless_asked,
)
from neokernels.row_tiles import linear_in_tiles


class Linear(Protocol):
    """A projection with its weight in the layout and format its implementation reads."""

    @property
    def nbytes(self) -> int:
        """Bytes of weight, scales and bias: what one call must read whatever the batch."""

    def __call__(self, x: Tensor) -> Tensor:
        """x [T, K], T may be 0; returns [T, N] in the dtype of x."""


class DenseLinear:
    """The reference: torch's own projection over the weight as it is, which is not copied."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, multiply: Multiply = linear) -> None:
        """weight [N, K]; bias [N] or None."""
        self.nbytes = weight.nbytes + (0 if bias is None else bias.nbytes)
        self._weight = weight
        self._bias = bias
        self._multiply = multiply

    def __call__(self, x: Tensor) -> Tensor:
        return self._multiply(x, self._weight, self._bias)


class OneDnnLinear:
    """oneDNN over a weight in its own blocked layout; torch itself asks it only for narrower dtypes."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight [N, K] on a CPU; bias [N] or None."""
        self.nbytes = weight.nbytes + (0 if bias is None else bias.nbytes)
        self._weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return y


def keeps(weight_format: WeightFormat) -> Refuses:
    """The requirement of an implementation that keeps weights in one format."""

    def refuses(target: Target) -> str | None:
        return None if target.weight_format == weight_format else f"not for weights kept in {target.weight_format}"

    return refuses


def _without_onednn(target: Target) -> str | None:
    if target.device.type != "cpu" or target.dtype != torch.float32:
        return "serves float32 on a CPU only"
    return None if hasattr(torch.ops.mkldnn, "_linear_pointwise") else "torch was built without oneDNN"


def _without_cublas(target: Target) -> str | None:
    return None if target.device.type == "cuda" else "serves CUDA devices only"


_Prepare = Launcher[[Tensor, Tensor | None], Linear]
_triton: _Prepare = Launcher("projections.linear", "TritonLinear")
_triton_fp8: _Prepare = Launcher("projections.linear", "TritonFp8Linear")
_triton_mxfp4: _Prepare = Launcher("projections.fp4_linear", "mxfp4_linear")
_triton_nvfp4: _Prepare = Launcher("projections.fp4_linear", "nvfp4_linear")
_triton_mxfp4_w4a8: _Prepare = Launcher("projections.fp4_linear", "mxfp4_linear_w4a8")
_triton_nvfp4_w4a4: _Prepare = Launcher("projections.fp4_linear", "nvfp4_linear_w4a4")
_Mxfp4Linear = partial(WeightOnlyLinear, mxfp4.quantise, mxfp4.dequantise)
_Nvfp4Linear = partial(WeightOnlyLinear, nvfp4.quantise, nvfp4.dequantise)


def _in_tiles(prepare: Callable[..., Linear]) -> Callable[[Tensor, Tensor | None], Linear]:
    return partial(prepare, multiply=linear_in_tiles)


prepare_linear: Operation[[Tensor, Tensor | None], Linear] = Operation(
    "linear",
    Implementation("panels", PanelLinear, any_of(keeps("dense"), library.refuses), source="c"),
    Implementation("onednn", OneDnnLinear, any_of(keeps("dense"), promises_nothing, _without_onednn), source="library"),
    Implementation("cublas", DenseLinear, any_of(keeps("dense"), promises_nothing, _without_cublas), source="library"),
    Implementation("triton", _triton, any_of(keeps("dense"), without_triton)),
    Implementation("reference", DenseLinear, any_of(keeps("dense"), promises_nothing)),
    Implementation("fixed_tiles", _in_tiles(DenseLinear), any_of(keeps("dense"), unless_asked)),
    Implementation("int8_panels", Int8PanelLinear, any_of(keeps("int8"), library.refuses), source="c"),
    Implementation(
        "int8_packed", PackedInt8Linear, any_of(keeps("int8"), promises_nothing, without_packed_int8), source="library"
    ),
    Implementation("int8_reference", Int8Linear, any_of(keeps("int8"), promises_nothing)),
    Implementation("int8_fixed_tiles", _in_tiles(Int8Linear), any_of(keeps("int8"), unless_asked)),
    Implementation(
        "fp8_scaled", ScaledFp8Linear, any_of(keeps("fp8"), promises_nothing, without_scaled_product), source="library"
    ),
    Implementation("fp8_triton", _triton_fp8, any_of(keeps("fp8"), without_triton, without_e4m3)),
    Implementation("fp8_reference", Fp8Linear, any_of(keeps("fp8"), promises_nothing)),
    Implementation("fp8_fixed_tiles", _in_tiles(Fp8Linear), any_of(keeps("fp8"), unless_asked)),
    Implementation("mxfp4_triton", _triton_mxfp4, any_of(keeps("mxfp4"), without_triton)),
    # Quantised activations are worse answers: they are for who asks for them by name.
    Implementation(
        "mxfp4_triton_w4a8",
        _triton_mxfp4_w4a8,
        any_of(keeps("mxfp4"), without_triton, without_block_scales),
        activations="mxfp8",
    ),
    Implementation("mxfp4_reference", _Mxfp4Linear, any_of(keeps("mxfp4"), promises_nothing)),
    Implementation("mxfp4_fixed_tiles", _in_tiles(_Mxfp4Linear), any_of(keeps("mxfp4"), unless_asked)),
    Implementation("nvfp4_triton", _triton_nvfp4, any_of(keeps("nvfp4"), without_triton)),
    Implementation(
        "nvfp4_triton_w4a4",
        _triton_nvfp4_w4a4,
        any_of(keeps("nvfp4"), without_triton, without_block_scales),
        activations="nvfp4",
    ),
    Implementation("nvfp4_reference", _Nvfp4Linear, any_of(keeps("nvfp4"), promises_nothing)),
    Implementation("nvfp4_fixed_tiles", _in_tiles(_Nvfp4Linear), any_of(keeps("nvfp4"), unless_asked)),
)
"""Weight and bias in, a `Linear` out."""

prepare_output = Operation("output", *prepare_linear.implementations)
"""`prepare_linear` for the projection to logits, resolved for `output_format`."""


def output_format(weight_format: WeightFormat) -> WeightFormat:
    """The format of the projection to logits where the others have `weight_format`.

    Integers of eight bits serve it too, as in llama.cpp's Q8_0 and gpt-fast; it stays dense beside narrower formats and
    beside activations that are quantised, as in vLLM's fp8 and the recipes of llm-compressor and NVIDIA's ModelOpt.
    """
    return weight_format if weight_format == "int8" else "dense"
