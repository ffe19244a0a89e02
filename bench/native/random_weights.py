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

from bench.native.parallel.shards import WHOLE, Part, Shards

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
        held = [self._shards.shape(name, shape) for name, shape in shapes.items()]
        lengths = [rows for rows, *_ in held]
        stacked = torch.empty((sum(lengths), *held[0][1:]), dtype=dtype or self._dtype, device=self._device)
        self.bytes_read += stacked.nbytes
        first = next(iter(shapes))
        begin = self._place_of(first)
        if all(self._shards.holds_all(name, shape) for name, shape in shapes.items()):
            self._make(stacked, first, begin)
            return stacked
        for part, (name, shape) in zip(torch.split(stacked, lengths), shapes.items(), strict=True):
            if self._shards.adds(name):
                self._make_part(part, name, begin, shape, self._shards.part(name, shape))
            else:
                part.zero_()
            begin += math.prod(shape)
        return stacked

    def read_mxfp4(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor of `shape`, dense as all the others."""
        stored = f"{name}_blocks"
        dense = torch.empty(self._shards.shape(stored, shape), dtype=self._dtype, device=self._device)
        self.bytes_read += dense.nbytes
        self._make_part(dense, name, self._place_of(name), shape, self._shards.part(stored, shape))
        return dense

    def _place_of(self, name: str) -> int:
        return zlib.crc32(name.encode(), self._seed)

    def _make_part(self, made: Tensor, name: str, begin: int, shape: tuple[int, ...], part: Part) -> None:
        """The numbers of a part do not follow one another, so the whole tensor is made, but of one at a time."""
        if made.shape == shape:
            self._make(made, name, begin)
        elif not made.is_meta:
            whole = torch.empty(shape, dtype=made.dtype, device=made.device)
            self._make(whole, name, begin)
            made.copy_(whole[part])

    def _make(self, made: Tensor, name: str, begin: int) -> None:
        """Numbers that begin at a place in the tile."""
        if made.is_meta:
            return  # holds no numbers, and to learn that torch would import its compiler, for seconds
        if made.dim() > 1:
            self._fill(made, begin % _TILE)
        else:
            made.fill_(name.endswith("norm.weight"))

    def _fill(self, weight: Tensor, begin: int) -> None:
        """Copy the scaled tile over `weight` as often as it fits."""
        flat, tile, scale = weight.view(-1), self._tile[begin : begin + _TILE], weight.shape[-1] ** -0.5
        tiles = len(flat) // _TILE
        whole, rest = flat.tensor_split([tiles * _TILE])
        torch.mul(tile.expand(tiles, _TILE), scale, out=whole.view(tiles, _TILE))
        torch.mul(tile[: len(rest)], scale, out=rest)
