"""Weights made up instead of read: any model's shapes at once, on the device, for measuring speed alone.

Matrices are normal with variance 1/columns, norms are one and other vectors zero, so that each layer hands on what it
gets at about the size it got it: no activation overflows, however deep the model.

The numbers repeat a tile. A step moves and multiplies the same bytes whatever they say, and a CPU copies the tile tens
of times faster than it draws fresh numbers. The tile's length is prime, so no two rows of a matrix are alike. What does
depend on the numbers is not a trained model's: which experts are chosen, and how many drafted tokens are right.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from bench.native.parallel.shards import WHOLE, Shards

_TILE = 1_048_573
"""Numbers in the tile: 2^20 − 3, the largest prime below 2^20. Small enough to stay in a cache while it is copied."""


class RandomWeights:
    """A source of weights like `WeightFiles`, of any name and shape.

    Equal seeds make equal weights, and the parts of several ranks make up what a single one has.
    """

    def __init__(self, seed: int, device: torch.device, dtype: torch.dtype, shards: Shards = WHOLE) -> None:
        self.bytes_read = 0
        """Bytes on the device of everything made so far."""
        self._device = device
        self._dtype = dtype
        self._seed = seed
        self._shards = shards
        tile = torch.randn(_TILE, generator=torch.Generator().manual_seed(seed))
        # Twice over, so that a whole tile can be read from any place in it.
        self._tile = torch.cat((tile, tile)).to(device, dtype)

    def read(self, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype | None = None) -> Tensor:
        """The named tensors, each of its shape, stacked along their first dimension into one."""
        first, (_, *inner) = next(iter(shapes.items()))
        begin = zlib.crc32(first.encode(), self._seed)
        if all(self._shards.holds_all(name, shape) for name, shape in shapes.items()):
            stacked = self._made((sum(shape[0] for shape in shapes.values()), *inner), first, begin, dtype)
        else:
            parts = []
            for name, shape in shapes.items():
                # A part is not the whole tensor's numbers in order, so that is made first; but one at a time.
                part = self._made(shape, name, begin, dtype)[self._shards.part(name, shape)]
                parts.append(part if self._shards.adds(name) else torch.zeros_like(part))
                begin += math.prod(shape)
            stacked = torch.cat(parts)
        self.bytes_read += stacked.nbytes
        return stacked

    def read_mxfp4(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor of `shape`, dense as all the others."""
        whole = self._made(shape, name, zlib.crc32(name.encode(), self._seed), None)
        part = whole[self._shards.part(f"{name}_blocks", shape)].contiguous()
        self.bytes_read += part.nbytes
        return part

    def _made(self, shape: tuple[int, ...], name: str, begin: int, dtype: torch.dtype | None) -> Tensor:
        """A whole tensor, its numbers beginning at a place in the tile."""
        made = torch.empty(shape, dtype=dtype or self._dtype, device=self._device)
        if made.is_meta:
            return made  # holds no numbers, and to learn that torch would import its compiler, for seconds
        if len(shape) > 1:
            self._fill(made, begin % _TILE)
        else:
            made.fill_(name.endswith("norm.weight"))
        return made

    def _fill(self, weight: Tensor, begin: int) -> None:
        """Copy the scaled tile over `weight` as often as it fits."""
        flat, tile, scale = weight.view(-1), self._tile[begin : begin + _TILE], weight.shape[-1] ** -0.5
        tiles = len(flat) // _TILE
        whole, rest = flat.tensor_split([tiles * _TILE])
        torch.mul(tile.expand(tiles, _TILE), scale, out=whole.view(tiles, _TILE))
        torch.mul(tile[: len(rest)], scale, out=rest)
