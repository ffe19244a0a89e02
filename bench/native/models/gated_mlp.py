"""The dense feed-forward of a SwiGLU model."""

from __future__ import annotations

from dataclasses import dataclass

from neokernels.linear import Linear
from torch import Tensor

from bench.native.models.operations import Operations


@dataclass(frozen=True, slots=True)
class GatedMlp:
    operations: Operations
    gate_up: Linear
    """Gate and up stacked: they read the same input."""
    down: Linear

    def __call__(self, hidden: Tensor, live: Tensor | None) -> Tensor:
        del live  # a padding row costs a dense layer nothing it would not do anyway
        return self.down(self.operations.silu_mul(self.gate_up(hidden)))
