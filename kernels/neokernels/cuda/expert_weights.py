"""One projection of all experts of a layer, as the grouped product reads it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neokernels.formats import fp4_panels, mxfp4


@dataclass(frozen=True, slots=True)
class StackedWeight:
    values: Tensor
    """Dense [E · rows, K], or the words of panels, [E · ⌈K/128⌉ · rows, 16] int32."""
    scales: Tensor | None
    """Of the panels' blocks, [E · ⌈K/128⌉ · rows, 4] uint8."""
    tensor_scales: Tensor | None
    """What an expert's panels are multiplied with besides, [E] float32."""
    bias: Tensor | None
    """[E, N]."""
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


def dense(weight: Tensor, bias: Tensor | None) -> StackedWeight:
    """weight [E, N, K], which is not copied where it is contiguous; bias [E, N] or None."""
    experts, outputs, inputs = weight.shape
    values = weight.contiguous().view(experts * outputs, inputs)
    return StackedWeight(values, None, None, bias, experts, outputs, outputs, inputs)


def in_mxfp4(weight: Tensor, bias: Tensor | None) -> StackedWeight:
    """As `dense`, quantised to MXFP4. Raises NotFiniteError."""
    experts, outputs, inputs = weight.shape
    stacked = empty_mxfp4(experts, outputs, inputs, bias, weight.device)
    assert stacked.scales is not None
    assert stacked.tensor_scales is not None
    words, scales = (part.view(experts, -1, part.shape[-1]) for part in (stacked.values, stacked.scales))
    # One by one: on its way a weight is several times as large as it was.
    for index, expert in enumerate(weight):
        panels = fp4_panels.of_mxfp4(mxfp4.quantise(expert))
        words[index] = panels.words.flatten(0, 1)
        scales[index] = panels.scales.flatten(0, 1)
        stacked.tensor_scales[index] = panels.tensor_scale
    return stacked


def empty_mxfp4(
    experts: int, outputs: int, inputs: int, bias: Tensor | None, device: torch.device | str
) -> StackedWeight:
    """Room for weights in MXFP4."""
    rows = -(-outputs // fp4_panels.ROWS) * fp4_panels.ROWS
    length = experts * -(-inputs // fp4_panels.PANEL) * rows
    return StackedWeight(
        torch.empty((length, fp4_panels.PANEL // 8), dtype=torch.int32, device=device),
        torch.empty((length, fp4_panels.PANEL // mxfp4.BLOCK), dtype=torch.uint8, device=device),
        torch.empty(experts, dtype=torch.float32, device=device),
        bias,
        experts,
        rows,
        outputs,
        inputs,
    )
