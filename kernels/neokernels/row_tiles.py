"""Computing rows in tiles of one constant shape, so that a row's bits do not depend on how many others there are.

A library picks its kernel by the shape it is given, and another kernel adds up in another order or takes another
exponential. Given one shape whatever the batch, it has nothing to choose by. What is left is where in a tile a row
lies: libraries compute every row of a product or a row-wise sum alike (the tests ask), but take the last elements of a
vectorised loop by another path, so functions with an exponential or a sine are given one row at a time on a CPU.
Source: He and others 2025, "Defeating Nondeterminism in LLM Inference" (thinkingmachines.ai, 10 September 2025).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

_ROWS = {"cpu": 16, "cuda": 128}
"""Rows of a tile: a decode step pays for all of them, a prefill reads a weight once for each tile."""
_MULTIPLE = 16
"""Rows whose bytes are no multiple of a vector's are computed by where they begin; columns are padded to this."""


def in_tiles(function: Callable[[Tensor], Tensor], x: Tensor, rows: int | None = None) -> Tensor:
    """function(x) for a function of each row of x [T, ...] alone, always called with `rows` rows; None: the device's.

    The function gets zeros for rows that are missing to a whole tile.
    """
    if not len(x):
        return function(x)
    rows = rows or _ROWS[x.device.type]
    tiles = -(-len(x) // rows)
    # A copy even where nothing is missing: libraries also choose by how memory is aligned.
    filled = x.new_zeros((tiles * rows, *x.shape[1:]))
    filled[: len(x)] = x
    return torch.cat([function(tile) for tile in filled.view(tiles, rows, *x.shape[1:])])[: len(x)]


def linear_in_tiles(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b: x [T, K], weight [N, K], bias [N] or None; returns [T, N]. Widths that are odd cost a copy."""
    outputs, columns = weight.shape
    if outputs % _MULTIPLE or columns % _MULTIPLE:
        x = pad(x, (0, -columns % _MULTIPLE))
        weight = pad(weight, (0, -columns % _MULTIPLE, 0, -outputs % _MULTIPLE))
    y = in_tiles(lambda tile: linear(tile, weight), x)[:, :outputs]
    return y if bias is None else y + bias
