"""A dense projection.

y = x Wᵀ + b
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import linear as torch_linear

from neokernels.registry import Implementation, Operation


def linear_reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [T, K], weight [N, K], bias [N] or None; returns [T, N] in the dtype of x."""
    return torch_linear(x, weight, bias)


linear = Operation("linear", Implementation("reference", linear_reference))
