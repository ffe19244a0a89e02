"""A dense projection whose weight is prepared once, for whatever reads it fastest.

y = x Wᵀ + b
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear

from neokernels.registry import Implementation, Operation, Target


class Linear(Protocol):
    """A projection with its weight in the layout and format its implementation reads."""

    @property
    def nbytes(self) -> int:
        """Bytes of weight, scales and bias: what one call must read whatever the batch."""

    def __call__(self, x: Tensor) -> Tensor:
        """x [T, K], T may be 0; returns [T, N] in the dtype of x."""


class DenseLinear:
    """The reference: torch's own projection over the weight as it is, which is not copied."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight [N, K]; bias [N] or None."""
        self.nbytes = weight.nbytes + (0 if bias is None else bias.nbytes)
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self._weight, self._bias)


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


def _not_dense(target: Target) -> str | None:
    return None if target.weight_format == "dense" else f"keeps weights dense, not in {target.weight_format}"


def _without_onednn(target: Target) -> str | None:
    if target.device.type != "cpu" or target.dtype != torch.float32:
        return "serves float32 on a CPU only"
    if target.numerics != "fast":
        return "promises nothing of one row when others change"
    return _not_dense(target) or (
        None if hasattr(torch.ops.mkldnn, "_linear_pointwise") else "torch was built without oneDNN"
    )


prepare_linear: Operation[[Tensor, Tensor | None], Linear] = Operation(
    "linear",
    Implementation("onednn", OneDnnLinear, refuses=_without_onednn),
    Implementation("reference", DenseLinear, refuses=_not_dense),
)
"""Weight and bias in, a `Linear` out."""
