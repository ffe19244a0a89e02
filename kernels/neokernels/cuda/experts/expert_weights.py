"""One projection of all experts of a layer, as the grouped product reads it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neokernels.cuda.projections.tiles import COPY_BYTES
from neokernels.formats import fp4_panels, fp8, int8, mxfp4, nvfp4
from neokernels.formats.fp4_panels import Fp4Panels

_BLOCKS = {"mxfp4": mxfp4.BLOCK, "nvfp4": nvfp4.BLOCK}
"""Elements a scale has, of formats that lie in panels."""


@dataclass(frozen=True, slots=True)
class StackedWeight:
    format: str
    """A `WeightFormat` of the registry's."""
    values: Tensor
    """[E · rows, K], dense, int8 or e4m3; or the words of panels, [E · ⌈K/128⌉ · rows, 16] int32."""
    scales: Tensor | None
    """Of rows of eight bits, [E · rows] float32; or of the panels' blocks, [E · ⌈K/128⌉ · rows, 8 or 4] uint8."""
    tensor_scales: Tensor | None
    """What an expert's panels are multiplied with besides, [E] float32."""
    bias: Tensor | None
    """[E, N]."""
    dtype: torch.dtype
    """What the weight was before it was quantised: that of activations."""
    experts: int
    rows: int
    """Of one expert: N, or as many as panels are filled up to."""
    outputs: int
    """N."""
    inputs: int
    """K."""

    @property
    def nbytes(self) -> int:
        parts = (self.values, self.scales, self.tensor_scales, self.bias)
        return sum(part.nbytes for part in parts if part is not None)

    def expert(self, index: int, dtype: torch.dtype) -> Tensor:
        """What one expert's weight stands for, [N, K] in `dtype`."""
        own, *scales = (
            None if part is None else part.view(self.experts, -1, *part.shape[1:])[index]
            for part in (self.values, self.scales, self.tensor_scales)
        )
        assert own is not None
        if self.format == "dense":
            return own.to(dtype)
        block_or_row_scales, tensor_scales = scales
        assert block_or_row_scales is not None
        if self.format in ("int8", "fp8"):
            return own.to(dtype) * block_or_row_scales[:, None].to(dtype)
        assert tensor_scales is not None
        words, block_scales = (part.unflatten(0, (-1, self.rows)) for part in (own, block_or_row_scales))
        panels = Fp4Panels(words, block_scales, tensor_scales[0], self.outputs, self.inputs)
        return fp4_panels.dequantise(panels, dtype)


def in_panels(format: str) -> bool:
    """Whether weights are of four bits, in `fp4_panels`."""
    return format in _BLOCKS


def bytes_per_number(format: str, dtype: torch.dtype) -> float:
    """Of a weight, scales of blocks included."""
    return 1 / 2 + 1 / _BLOCKS[format] if format in _BLOCKS else dtype.itemsize if format == "dense" else 1


def stacked(format: str, weight: Tensor, bias: Tensor | None) -> StackedWeight:
    """weight [E, N, K] in a format, dense without a copy where it lies as it is read; bias [E, N] or None.

    On `meta` shapes and types. Raises NotFiniteError.
    """
    experts, outputs, inputs = weight.shape
    if format == "dense":
        values = weight.reshape(experts * outputs, inputs)
        values = values.clone() if values.data_ptr() % COPY_BYTES else values
        return StackedWeight(format, values, None, None, bias, weight.dtype, experts, outputs, outputs, inputs)
    rows = -(-outputs // fp4_panels.ROWS) * fp4_panels.ROWS if in_panels(format) else outputs
    made = _room(format, weight, bias, rows)
    if not weight.is_meta:
        # One by one: on its way a weight is several times as large as it was.
        parts = [part.view(experts, -1) for part in (made.values, made.scales, made.tensor_scales) if part is not None]
        for index, expert in enumerate(weight):
            for part, own in zip(parts, _quantised(format, expert), strict=True):
                part[index] = own.flatten()
    return made


def _quantised(format: str, weight: Tensor) -> tuple[Tensor, ...]:
    if format == "int8":
        codes = int8.quantise(weight)
        return codes.codes, codes.scales
    if format == "fp8":
        rows = fp8.quantise(weight)
        return rows.values, rows.scales
    if format == "mxfp4":
        panels = fp4_panels.of_mxfp4(mxfp4.quantise(weight))
    else:
        panels = fp4_panels.of_nvfp4(nvfp4.quantise(weight))
    return panels.words, panels.scales, panels.tensor_scale


def _room(format: str, weight: Tensor, bias: Tensor | None, rows: int) -> StackedWeight:
    experts, outputs, inputs = weight.shape
    if not in_panels(format):
        values = weight.new_empty((experts * rows, inputs), dtype=torch.int8 if format == "int8" else fp8.E4M3)
        scales = weight.new_empty(experts * rows, dtype=torch.float32)
        return StackedWeight(format, values, scales, None, bias, weight.dtype, experts, rows, outputs, inputs)
    length = experts * -(-inputs // fp4_panels.PANEL) * rows
    words = weight.new_empty((length, fp4_panels.PANEL // 8), dtype=torch.int32)
    scales = weight.new_empty((length, fp4_panels.PANEL // _BLOCKS[format]), dtype=torch.uint8)
    tensor_scales = weight.new_empty(experts, dtype=torch.float32)
    return StackedWeight(format, words, scales, tensor_scales, bias, weight.dtype, experts, rows, outputs, inputs)
