"""Projections over weights kept in panels of 64 outputs, dense or in 8-bit integers (`linear.c`)."""

from __future__ import annotations

from ctypes import c_int, c_long, c_void_p

import torch
from torch import Tensor
from torch.nn.functional import pad

from neokernels.cpu import huge_pages
from neokernels.cpu.library import kernel
from neokernels.formats import int8

_PANEL = 64
_QUAD = (0, 2, 1, 3)
"""The order of four inputs in a lane of 32 bits."""


class PanelLinear:
    """One layout serves one row and many. An output is the same bits whatever rows are computed with it."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight [N, K] float32 or bfloat16 on a CPU, which is not kept; bias [N] in its dtype, or None.

        Raises BuildError where there is no library.
        """
        self._outputs, self._inputs = weight.shape
        # A lane of 32 bits is one input of float32, or two of bfloat16.
        filled = pad(weight, (0, -self._inputs % (4 // weight.itemsize))).contiguous()
        self._keep(_panels(filled.view(torch.int32)), None, bias)

    def _keep(self, panels: Tensor, scales: Tensor | None, bias: Tensor | None) -> None:
        self._kept = panels, scales, None if bias is None else bias.contiguous()
        self._addresses = [None if kept is None else kept.data_ptr() for kept in self._kept]
        self.nbytes = sum(kept.nbytes for kept in self._kept if kept is not None)
        self._multiply = kernel("linear", c_int, *[c_void_p] * 5, *[c_long] * 3, c_int)

    def __call__(self, x: Tensor) -> Tensor:
        x = x.contiguous()
        rows = x.shape[0]
        y = x.new_empty((rows, self._outputs))
        self._multiply(
            x.dtype == torch.bfloat16,
            x.data_ptr(),
            *self._addresses,
            y.data_ptr(),
            rows,
            self._inputs,
            self._outputs,
            torch.get_num_threads(),
        )
        return y


class Int8PanelLinear(PanelLinear):
    """y = (x Qᵀ) · s + b, where every product is exact and the sums are in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """As `PanelLinear`. Raises NotFiniteError for a weight that is not finite."""
        self._outputs, self._inputs = weight.shape
        quantised = int8.quantise(weight)
        quads = pad(quantised.codes, (0, -self._inputs % len(_QUAD))).view(self._outputs, -1, len(_QUAD))
        lanes = quads[..., _QUAD].contiguous().view(torch.int32).squeeze(-1)
        self._keep(_panels(lanes), quantised.scales.flatten(), bias)


def _panels(weight: Tensor) -> Tensor:
    """weight [N, lanes of 32 bits]; returns [panels, lanes, 64], filled up with zeros."""
    lanes = pad(weight, (0, 0, 0, -len(weight) % _PANEL)).view(-1, _PANEL, weight.shape[1]).transpose(1, 2)
    return huge_pages.empty(lanes.shape, lanes.dtype).copy_(lanes)
