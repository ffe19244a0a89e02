"""A projection of every head by a weight of its own: what latent attention folds into its queries and its output.

y_th = W_h x_th
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from torch import Tensor

from neokernels.registry import Implementation, Operation, promises_nothing, unless_asked
from neokernels.row_tiles import in_tiles


class HeadLinear(Protocol):
    """The weights of all heads, in the layout their implementation reads."""

    @property
    def nbytes(self) -> int:
        """What one call must read whatever the batch."""

    def __call__(self, x: Tensor) -> Tensor:
        """x [T, heads, K], T may be 0; returns [T, heads, N] in the dtype of x."""


class BatchedHeadLinear:
    """One batched product over the heads. The weights stay dense, whatever the format of other projections."""

    def __init__(self, weight: Tensor, by_tiles: bool = False) -> None:
        """weight [heads, N, K]."""
        self.nbytes = weight.nbytes
        self._weight = weight.transpose(1, 2)
        self._by_tiles = by_tiles

    def __call__(self, x: Tensor) -> Tensor:
        return in_tiles(self._multiply, x) if self._by_tiles else self._multiply(x)

    def _multiply(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).bmm(self._weight).transpose(0, 1)


prepare_head_linear: Operation[[Tensor], HeadLinear] = Operation(
    "head_linear",
    Implementation("reference", BatchedHeadLinear, promises_nothing),
    Implementation("fixed_tiles", partial(BatchedHeadLinear, by_tiles=True), unless_asked),
)
"""Weight in, a `HeadLinear` out."""
