"""What kernels of products share: the order of their tiles, and reading them by bulk copies or by pointers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from neokernels.device import Device

COPY_BYTES = 16
"""What rows of a tensor begin at multiples of, where bulk copies are to read or write it."""


@triton.jit
def tile_of(index, tiles_m, tiles_n, GROUP_M: tl.constexpr):
    """(row, column) of a tile among tiles_m × tiles_n, numbered down columns of GROUP_M so that neighbours in time
    share rows and columns of the second-level cache."""
    in_group = GROUP_M * tiles_n
    first = index // in_group * GROUP_M
    size = tl.minimum(tiles_m - first, GROUP_M)
    return first + index % in_group % size, index % in_group // size


@triton.jit
def load_tile(
    source,
    row,
    column,
    rows,
    columns,
    stride,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
):
    """[ROWS, COLUMNS] from (row, column) of a matrix [rows, columns]; zeros beyond its edges."""
    if DESCRIPTORS:
        tile = source.load([row, column])
    else:
        at_row = row + tl.arange(0, ROWS)[:, None]
        at_column = column + tl.arange(0, COLUMNS)[None, :]
        inside = (at_row < rows) & (at_column < columns)
        tile = tl.load(source + at_row.to(tl.int64) * stride + at_column, inside, other=0.0)
    return tile


@triton.jit
def store_tile(
    target,
    value,
    row,
    column,
    rows,
    columns,
    stride,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
):
    """The counterpart of `load_tile`, in the dtype of the target."""
    if DESCRIPTORS:
        target.store([row, column], value.to(target.dtype))
    else:
        at_row = row + tl.arange(0, ROWS)[:, None]
        at_column = column + tl.arange(0, COLUMNS)[None, :]
        inside = (at_row < rows) & (at_column < columns)
        tl.store(target + at_row.to(tl.int64) * stride + at_column, value.to(target.dtype.element_ty), inside)


def describable(device: Device, *widths_in_bytes: int) -> bool:
    """Whether bulk copies reach matrices whose rows have these widths."""
    return device.has_bulk_copies and all(width > 0 and width % COPY_BYTES == 0 for width in widths_in_bytes)


def readable(matrix: Tensor, descriptors: bool) -> Tensor:
    """The matrix itself where its rows lie as they are read, or else a copy of it."""
    aligned = matrix.data_ptr() % COPY_BYTES == 0 and matrix.stride(0) * matrix.itemsize % COPY_BYTES == 0
    if matrix.stride(1) == 1 and (aligned or not descriptors):
        return matrix
    return matrix.clone(memory_format=torch.contiguous_format)


def described(matrix: Tensor, rows: int, columns: int, descriptors: bool) -> Tensor | TensorDescriptor:
    """What `load_tile` reads tiles of rows × columns from."""
    return TensorDescriptor.from_tensor(matrix, [rows, columns]) if descriptors else matrix
