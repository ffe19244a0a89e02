"""A dense projection over weights kept in panels of 64 outputs, read from first byte to last (`dense.c`)."""

from __future__ import annotations

from ctypes import c_int, c_long, c_void_p

import torch
from torch import Tensor
from torch.nn.functional import pad

from neokernels.cpu.library import kernel

_PANEL = 64


class PanelLinear:
    """One layout serves one row and many. An output is the same bits whatever rows are computed with it."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight [N, K] float32 or bfloat16 on a CPU, which is not kept; bias [N] in its dtype, or None.

        Raises BuildError where there is no library.
        """
        self._outputs, self._inputs = weight.shape
        self._panels = _panels(weight)
        self._bias = None if bias is None else bias.contiguous()
        self.nbytes = self._panels.nbytes + (0 if bias is None else bias.nbytes)
        name = "dense_bf16" if weight.dtype == torch.bfloat16 else "dense_f32"
        self._multiply = kernel(name, *[c_void_p] * 4, *[c_long] * 3, c_int)
        self._addresses = self._panels.data_ptr(), None if self._bias is None else self._bias.data_ptr()

    def __call__(self, x: Tensor) -> Tensor:
        x = x.contiguous()
        rows = len(x)
        y = x.new_empty((rows, self._outputs))
        self._multiply(
            x.data_ptr(), *self._addresses, y.data_ptr(), rows, self._inputs, self._outputs, torch.get_num_threads()
        )
        return y


def _panels(weight: Tensor) -> Tensor:
    """[panels, K or pairs of K, 64] in lanes of 32 bits, zero where the weight does not fill them."""
    outputs, inputs = weight.shape
    lane = 4 // weight.itemsize
    filled = pad(weight, (0, -inputs % lane, 0, -outputs % _PANEL)).contiguous().view(torch.int32)
    return filled.view(-1, _PANEL, filled.shape[1]).transpose(1, 2).contiguous()
