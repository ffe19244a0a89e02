"""Computing rows in tiles of one constant shape, so that a row's bits do not depend on how many others there are.

A library picks its kernel by the shape it is given, and another kernel adds up in another order or takes another
exponential. Given one shape whatever the batch, it has nothing to choose by. What is left is where in a tile a row
lies. Libraries compute every row of a product or of a row-wise sum alike (the tests ask them), but a CPU's vectorised
loops take the last elements by another path, with another exponential or sine: functions with one of those are given
one row at a time there. Sums and products of two numbers are rounded exactly on every path and need none of this.

Source: He et al. 2025, "Defeating Nondeterminism in LLM Inference" (thinkingmachines.ai, 10 September 2025).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

_ROWS = {"cpu": 16, "cuda": 128}
"""Rows of a tile: a decode step pays for all of them, a prefill reads a weight once for each tile."""
_MULTIPLE = 16
"""Widths are filled up to this: rows that begin anywhere in a vector are computed by where they begin."""


def in_tiles(function: Callable[..., Tensor], *columns: Tensor) -> Tensor:
    """function(*columns) for a function of each row alone, columns [T, ...], called with constantly many rows.

    The function gets zeros for rows that are missing to a whole tile.
    """
    count, rows = len(columns[0]), _ROWS[columns[0].device.type]
    if not count:
        return function(*columns)
    tiles = zip(*(_filled(column, rows) for column in columns), strict=True)
    return torch.cat([function(*tile) for tile in tiles])[:count]


def one_by_one(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x) for a function of each row of x [T, ...] alone, row by row where elements at the end are special."""
    if x.device.type == "cuda" or not len(x):
        return function(x)
    return torch.cat([function(x[row : row + 1]) for row in range(len(x))])


def linear_in_tiles(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b: x [T, K], weight [N, K], bias [N] or None; returns [T, N]. A weight of odd widths costs a copy."""
    outputs, inputs = weight.shape
    if outputs % _MULTIPLE or inputs % _MULTIPLE:
        x = pad(x, (0, -inputs % _MULTIPLE))
        weight = pad(weight, (0, -inputs % _MULTIPLE, 0, -outputs % _MULTIPLE))
    y = in_tiles(lambda tile: linear(tile, weight), x)[:, :outputs]
    return y if bias is None else y + bias


def _filled(column: Tensor, rows: int) -> Tensor:
    """[tiles, rows, ...]: a copy even where nothing is missing, for libraries also choose by how memory is aligned."""
    tiles = -(-len(column) // rows)
    filled = column.new_zeros((tiles * rows, *column.shape[1:]))
    filled[: len(column)] = column
    return filled.view(tiles, rows, *column.shape[1:])
