"""Projections over 4-bit weights on a GPU, quantised and laid out once."""

from __future__ import annotations

from torch import Tensor

from neokernels.cuda.fp4_matmul import fp4_matmul
from neokernels.cuda.small_matmul import no_arrivals
from neokernels.formats import mxfp4, nvfp4
from neokernels.formats.fp4_panels import ROWS, Fp4Panels, of_mxfp4, of_nvfp4
from neokernels.tuning.schedules import Schedules


class Fp4Linear:
    """y = x Wᵀ + b with W decoded where it is multiplied, and x as it comes."""

    def __init__(self, weight: Fp4Panels, bias: Tensor | None, schedules: Schedules) -> None:
        """weight of N outputs; bias [N] or None."""
        self.nbytes = weight.nbytes + (0 if bias is None else bias.nbytes)
        self._weight = weight
        self._bias = bias
        self._arrivals = no_arrivals(max(ROWS, weight.outputs), weight.words.device)
        self._schedules = schedules

    def __call__(self, x: Tensor) -> Tensor:
        """x [T, K], T may be 0; returns [T, N] in the dtype of x."""
        return fp4_matmul(x, self._weight, self._bias, self._arrivals, schedules=self._schedules)


def mxfp4_linear(weight: Tensor, bias: Tensor | None = None, *, schedules: Schedules) -> Fp4Linear:
    """weight [N, K]; bias [N] or None. Raises NotFiniteError."""
    return Fp4Linear(of_mxfp4(mxfp4.quantise(weight)), bias, schedules)


def nvfp4_linear(weight: Tensor, bias: Tensor | None = None, *, schedules: Schedules) -> Fp4Linear:
    """weight [N, K]; bias [N] or None. Raises NotFiniteError."""
    return Fp4Linear(of_nvfp4(nvfp4.quantise(weight)), bias, schedules)
