"""The most likely token of each row; of equally likely ones the first."""

from __future__ import annotations

import torch
from torch import Tensor

from neokernels.cuda.requirements import without_triton
from neokernels.launcher import Launcher
from neokernels.registry import Implementation, Operation, Target

_BLOCK = 128


def argmax_reference(values: Tensor) -> Tensor:
    """The index of the largest of `values` [R, V] in each row, [R] int64."""
    return values.argmax(-1)


def argmax_in_blocks(values: Tensor) -> Tensor:
    """`argmax_reference` by the maxima of blocks: torch finds a maximum with vector instructions, but not its place."""
    if values.shape[-1] % _BLOCK or not len(values):
        return values.argmax(-1)
    blocks = values.reshape(len(values), -1, _BLOCK)
    block = blocks.amax(-1).argmax(-1)
    return block * _BLOCK + blocks[torch.arange(len(values)), block].argmax(-1)


def _refuses_devices(target: Target) -> str | None:
    return None if target.device.type == "cpu" else "gains nothing where one pass finds both"


argmax = Operation(
    "argmax",
    Implementation("blocks", argmax_in_blocks, _refuses_devices),
    Implementation("triton", Launcher("sampling.argmax", "argmax"), without_triton),
    Implementation("reference", argmax_reference),
)
