"""The gated activations of SwiGLU feed-forward layers.

y = silu(gate) · up,  silu(z) = z / (1 + e⁻ᶻ)

and gpt-oss's, with the gate bounded above and up bounded on both sides:

y = g / (1 + e^(−alpha·g)) · (u + 1),  g = min(gate, limit),  u = clamp(up, −limit, limit)

Sources: Shazeer 2020 (arXiv:2002.05202) eq. 5; gpt-oss model card (arXiv:2508.10925) §2.2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import silu

from neokernels.cpu import library, rows
from neokernels.cuda.requirements import without_triton
from neokernels.launcher import Launcher
from neokernels.registry import Implementation, Operation, promises_nothing, unless_asked
from neokernels.row_tiles import one_by_one


class SwigluClamp(NamedTuple):
    """What gpt-oss's activation has beyond plain SwiGLU."""

    alpha: float
    limit: float


def silu_mul_reference(gate_up: Tensor) -> Tensor:
    """gate_up [T, 2·I]: the gate's I columns, then up's, as one fused projection gives them. Returns [T, I]."""
    gate, up = gate_up.chunk(2, dim=-1)
    return silu(gate).mul_(up)


def clamped_swiglu_reference(gate_up: Tensor, clamp: SwigluClamp) -> Tensor:
    """gate_up [T, 2·I] as for `silu_mul`; returns [T, I]."""
    gate, up = gate_up.chunk(2, dim=-1)
    gate, up = gate.clamp(max=clamp.limit), up.clamp(-clamp.limit, clamp.limit)
    return gate * torch.sigmoid(clamp.alpha * gate) * (up + 1)


def silu_mul_one_by_one(gate_up: Tensor) -> Tensor:
    """As `silu_mul_reference`, batch-invariant."""
    return one_by_one(silu_mul_reference, gate_up)


def clamped_swiglu_one_by_one(gate_up: Tensor, clamp: SwigluClamp) -> Tensor:
    """As `clamped_swiglu_reference`, batch-invariant."""
    return one_by_one(lambda row: clamped_swiglu_reference(row, clamp), gate_up)


silu_mul = Operation(
    "silu_mul",
    Implementation("cpu", rows.silu_mul, library.refuses, source="c"),
    Implementation("triton", Launcher("rows.silu_mul", "silu_mul"), without_triton),
    Implementation("reference", silu_mul_reference, promises_nothing),
    Implementation("one_by_one", silu_mul_one_by_one, unless_asked),
)
clamped_swiglu = Operation(
    "clamped_swiglu",
    Implementation("triton", Launcher("rows.silu_mul", "clamped_swiglu"), without_triton),
    Implementation("reference", clamped_swiglu_reference, promises_nothing),
    Implementation("one_by_one", clamped_swiglu_one_by_one, unless_asked),
)
