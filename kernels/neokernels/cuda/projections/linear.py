"""Projections by the kernels of this folder: one that splits the sum for few rows, one that stays for many.

Where a row's bits may not depend on how many others there are, one kernel with one tile serves all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neokernels.cuda.projections.fp8_matmul import fp8_matmul, small_fp8_matmul
from neokernels.cuda.projections.matmul import matmul
from neokernels.cuda.projections.products import FEW_ROWS
from neokernels.cuda.projections.small_matmul import small_matmul
from neokernels.cuda.projections.split_sum import no_arrivals
from neokernels.cuda.projections.tiles import COPY_BYTES, readable
from neokernels.cuda.rows.quantise_rows import quantise_fp8
from neokernels.formats import fp8
from neokernels.formats.fp8 import Fp8Rows
from neokernels.tuning.schedules import Schedules


class TritonLinear:
    """`neokernels.linear.DenseLinear` in Triton. Its calls follow one another: no two run at once."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, schedules: Schedules) -> None:
        """weight [N, K], which is kept as it is if its rows lie as they are read; bias [N] or None."""
        self.nbytes = weight.nbytes + (0 if bias is None else bias.nbytes)
        # Copied once where every call would have to.
        self._weight = readable(weight, weight.shape[1] * weight.itemsize % COPY_BYTES == 0)
        self._bias = bias
        self._schedules = schedules
        self._arrivals = _arrivals(weight, schedules)

    def __call__(self, x: Tensor) -> Tensor:
        if self._arrivals is not None and x.shape[0] <= FEW_ROWS:
            return small_matmul(x, self._weight, self._bias, self._arrivals, schedules=self._schedules)
        return matmul(x, self._weight, self._bias, schedules=self._schedules)


class TritonFp8Linear:
    """`neokernels.linear_quantised.Fp8Linear` in Triton. Its calls follow one another: no two run at once."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, schedules: Schedules) -> None:
        """weight [N, K]; bias [N] or None. Raises NotFiniteError."""
        self._dtype = weight.dtype
        self._weight = fp8.quantise(weight)
        self._bias = bias
        self._schedules = schedules
        self._arrivals = _arrivals(weight, schedules)
        self.nbytes = self._weight.nbytes + (0 if bias is None else bias.nbytes)

    def __call__(self, x: Tensor) -> Tensor:
        return self._product(quantise_fp8(x, schedules=self._schedules), x.dtype)

    def multiply_fp8(self, tokens: Fp8Rows) -> Tensor:
        """tokens [T, K], T may be 0; returns [T, N] in the dtype that the weight had."""
        return self._product(tokens, self._dtype)

    def _product(self, tokens: Fp8Rows, dtype: torch.dtype) -> Tensor:
        weight, bias, schedules = self._weight, self._bias, self._schedules
        if self._arrivals is not None and tokens.values.shape[0] <= FEW_ROWS:
            return small_fp8_matmul(tokens, weight, bias, dtype, self._arrivals, schedules=schedules)
        return fp8_matmul(tokens, weight, bias, dtype, schedules=schedules)


def _arrivals(weight: Tensor, schedules: Schedules) -> Tensor | None:
    """What few rows are multiplied with; None where they go the way of many."""
    return None if schedules.batch_invariant else no_arrivals(weight.shape[0], weight.device)
