"""The gated activation of a SwiGLU feed-forward layer.

y = silu(gate) · up,  silu(z) = z / (1 + e⁻ᶻ)

Source: Shazeer 2020 (arXiv:2002.05202) eq. 5.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import silu

from neokernels.registry import Implementation, Operation


def silu_mul_reference(gate_up: Tensor) -> Tensor:
    """gate_up [T, 2·I]: the gate's I columns, then up's, as one fused projection gives them. Returns [T, I]."""
    gate, up = gate_up.chunk(2, dim=-1)
    return silu(gate).mul_(up)


silu_mul = Operation("silu_mul", Implementation("reference", silu_mul_reference))
