"""The dense feed-forward of a SwiGLU model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neokernels.linear import Linear
from torch import Tensor

from bench.native.models.projection import Hidden, project, reads_fp8


@dataclass(frozen=True, slots=True)
class GatedMlp:
    gate_up: Linear
    """Gate and up stacked: they read the same input."""
    activate: Callable[[Tensor], Hidden]
    """silu(gate) · up, as `down` reads it."""
    down: Linear

    @property
    def reads_fp8(self) -> bool:
        return reads_fp8(self.gate_up)

    def __call__(self, hidden: Hidden, live: Tensor | None) -> Tensor:
        del live  # a padding row costs a dense layer nothing it would not do anyway
        return project(self.down, self.activate(project(self.gate_up, hidden)))
