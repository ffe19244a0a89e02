"""A dense projection, and the layout of its weight.

y = x Wᵀ + b
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear as torch_linear

from neokernels.registry import Implementation, Operation, Target


def linear_reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [T, K], weight [N, K], bias [N] or None; returns [T, N] in the dtype of x."""
    return torch_linear(x, weight, bias)


def linear_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same by oneDNN, which torch itself asks only for narrower dtypes. It reads weights of either layout."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def linear_weight_reference(weight: Tensor) -> Tensor:
    """The weight [N, K] of a projection in the layout that `linear` reads fastest: as it is."""
    return weight


def linear_weight_onednn(weight: Tensor) -> Tensor:
    """The same in oneDNN's blocked layout, which only `linear_onednn` can read."""
    blocked: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
    return blocked


def _without_onednn(target: Target) -> str | None:
    if target.device.type != "cpu" or target.dtype != torch.float32:
        return "serves float32 on a CPU only"
    return None if hasattr(torch.ops.mkldnn, "_linear_pointwise") else "torch was built without oneDNN"


linear = Operation(
    "linear",
    Implementation("onednn", linear_onednn, refuses=_without_onednn),
    Implementation("reference", linear_reference),
)
linear_weight = Operation(
    "linear_weight",
    Implementation("onednn", linear_weight_onednn, refuses=_without_onednn),
    Implementation("reference", linear_weight_reference),
)
