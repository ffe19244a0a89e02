"""Projections over 4-bit weights on a GPU, quantised and laid out once. Calls of one follow one another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from neokernels.cuda.projections.block_scaled_rows import Rows
from neokernels.cuda.projections.fp4_matmul import fp4_matmul
from neokernels.cuda.projections.fp4_scaled_matmul import fp4_scaled_matmul
from neokernels.cuda.projections.split_sum import no_arrivals
from neokernels.cuda.rows.quantise_mxfp8 import quantise_mxfp8
from neokernels.cuda.rows.quantise_rows import quantise_nvfp4
from neokernels.formats import fp4_panels, fp4_scale_tiles, mxfp4, nvfp4
from neokernels.formats.fp4_panels import Fp4Panels
from neokernels.formats.fp4_scale_tiles import TiledFp4
from neokernels.tuning.schedules import Schedules


class Fp4Linear:
    """y = x Wᵀ + b with W decoded where it is multiplied, and x as it comes."""

    def __init__(self, weight: Fp4Panels, bias: Tensor | None, schedules: Schedules) -> None:
        """weight of N outputs; bias [N] or None."""
        self.nbytes = weight.nbytes + (0 if bias is None else bias.nbytes)
        self._weight = weight
        self._bias = bias
        self._arrivals = no_arrivals(weight.words.shape[-2], weight.words.device)
        self._schedules = schedules

    def __call__(self, x: Tensor) -> Tensor:
        """x [T, K], T may be 0; returns [T, N] in the dtype of x."""
        return fp4_matmul(x, self._weight, self._bias, self._arrivals, schedules=self._schedules)


class ScaledFp4Linear:
    """y = x Wᵀ + b where tensor cores scale blocks: x is quantised too, token by token as it comes."""

    def __init__(
        self,
        weight: TiledFp4,
        bias: Tensor | None,
        quantise: Callable[[Tensor], Rows],
        schedules: Schedules,
    ) -> None:
        """weight of N outputs; bias [N] or None; `quantise` makes of tokens [T, K] what `weight` is multiplied with."""
        self.nbytes = weight.nbytes + (0 if bias is None else bias.nbytes)
        self._weight = weight
        self._bias = bias
        self._quantise = quantise
        self._arrivals = no_arrivals(weight.codes.shape[0], weight.codes.device)
        self._schedules = schedules

    def __call__(self, x: Tensor) -> Tensor:
        """x [T, K], T may be 0; returns [T, N] in the dtype of x."""
        tokens = self._quantise(x)
        return fp4_scaled_matmul(tokens, self._weight, self._bias, x.dtype, self._arrivals, schedules=self._schedules)


def mxfp4_linear(weight: Tensor, bias: Tensor | None = None, *, schedules: Schedules) -> Fp4Linear:
    """weight [N, K]; bias [N] or None. Raises NotFiniteError."""
    return Fp4Linear(fp4_panels.of_mxfp4(mxfp4.quantise(weight)), bias, schedules)


def nvfp4_linear(weight: Tensor, bias: Tensor | None = None, *, schedules: Schedules) -> Fp4Linear:
    """weight [N, K]; bias [N] or None. Raises NotFiniteError."""
    return Fp4Linear(fp4_panels.of_nvfp4(nvfp4.quantise(weight)), bias, schedules)


def mxfp4_linear_w4a8(weight: Tensor, bias: Tensor | None = None, *, schedules: Schedules) -> ScaledFp4Linear:
    """Activations in MXFP8. weight [N, K]; bias [N] or None. Raises NotFiniteError."""
    tiled = fp4_scale_tiles.of_mxfp4(mxfp4.quantise(weight))
    return ScaledFp4Linear(tiled, bias, partial(quantise_mxfp8, schedules=schedules), schedules)


def nvfp4_linear_w4a4(weight: Tensor, bias: Tensor | None = None, *, schedules: Schedules) -> ScaledFp4Linear:
    """Activations in NVFP4. weight [N, K]; bias [N] or None. Raises NotFiniteError."""
    tiled = fp4_scale_tiles.of_nvfp4(nvfp4.quantise(weight))
    return ScaledFp4Linear(tiled, bias, partial(quantise_nvfp4, schedules=schedules), schedules)
