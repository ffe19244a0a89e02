"""Projections of tokens that are quantised on their way: by what makes them if it can, by themselves if not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neokernels.formats.fp8 import Fp8Rows
from neokernels.linear import Linear
from neokernels.linear_quantised import ReadsFp8
from torch import Tensor

Hidden = Tensor | Fp8Rows
"""What a norm gives, [T, H]: in the activations' dtype, or quantised for a projection that reads nothing else."""


@dataclass(frozen=True, slots=True)
class Fp8Projection:
    """A projection of tokens in fp8, and what quantises those that come as they are."""

    linear: ReadsFp8
    quantise: Callable[[Tensor], Fp8Rows]

    @property
    def nbytes(self) -> int:
        return self.linear.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        return self.linear.multiply_fp8(self.quantise(x))


def reads_fp8(projection: Linear) -> bool:
    """Whether `project` takes rows for it that are quantised."""
    return isinstance(projection, Fp8Projection)


def project(projection: Linear, hidden: Hidden) -> Tensor:
    """[T, K] to [T, N]; quantised rows are for projections that `reads_fp8` says."""
    if isinstance(hidden, Tensor):
        return projection(hidden)
    assert isinstance(projection, Fp8Projection)
    return projection.linear.multiply_fp8(hidden)
