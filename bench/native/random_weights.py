"""Weights made up instead of read: any model's shapes at once, on the device, for measuring speed alone.

Matrices are normal with variance 1/columns, norms are one and other vectors zero, so that each layer hands on what it
gets at about the size it got it: no activation overflows, however deep the model.

The numbers repeat a tile. A step moves and multiplies the same bytes whatever they say, and a CPU copies the tile tens
of times faster than it draws fresh numbers. The tile's length is prime, so no two rows of a matrix are alike. What does
depend on the numbers is not a trained model's: which experts are chosen, and how many drafted tokens are right.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

_TILE = 1_048_573
"""Numbers in the tile: 2^20 − 3, the largest prime below 2^20. Small enough to stay in a cache while it is copied."""


class RandomWeights:
    """A source of weights like `WeightFiles`, of any name and shape. Equal seeds make equal weights on any device."""

    def __init__(self, seed: int, device: torch.device, dtype: torch.dtype) -> None:
        self.bytes_read = 0
        """Bytes on the device of everything made so far."""
        self._device = device
        self._dtype = dtype
        self._seed = seed
        tile = torch.randn(_TILE, generator=torch.Generator().manual_seed(seed))
        # Twice over, so that a whole tile can be read from any place in it.
        self._tile = torch.cat((tile, tile)).to(device, dtype)

    def read(self, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype | None = None) -> Tensor:
        """The named tensors, each of its shape, stacked along their first dimension into one."""
        (first, (_, *inner)), rows = next(iter(shapes.items())), sum(shape[0] for shape in shapes.values())
        stacked = torch.empty((rows, *inner), dtype=dtype or self._dtype, device=self._device)
        if inner:
            self._fill(stacked, first)
        else:
            stacked.fill_(first.endswith("norm.weight"))
        self.bytes_read += stacked.nbytes
        return stacked

    def read_mxfp4(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor of `shape`, dense as all the others."""
        return self.read({name: shape})

    def _fill(self, weight: Tensor, name: str) -> None:
        """Copy the scaled tile over `weight` as often as it fits, beginning at a place of the name's own."""
        begin = zlib.crc32(name.encode(), self._seed) % _TILE
        flat, tile, scale = weight.view(-1), self._tile[begin : begin + _TILE], weight.shape[-1] ** -0.5
        tiles = len(flat) // _TILE
        whole, rest = flat.tensor_split([tiles * _TILE])
        torch.mul(tile.expand(tiles, _TILE), scale, out=whole.view(tiles, _TILE))
        torch.mul(tile[: len(rest)], scale, out=rest)
