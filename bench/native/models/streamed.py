"""Layers that are read when they are needed and then let go, for a model too large to be held."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import overload

from bench.native.models.layer import Layer


class StreamedLayers(Sequence[Layer]):
    """Keeps the two layers a decoder has in hand: between two attentions it needs the one and the other."""

    def __init__(self, read_layer: Callable[[int], Layer], layers: int) -> None:
        self._read_layer = read_layer
        self._layers = layers
        self._held: OrderedDict[int, Layer] = OrderedDict()

    def __len__(self) -> int:
        return self._layers

    @overload
    def __getitem__(self, index: int) -> Layer: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Layer]: ...

    def __getitem__(self, index: int | slice) -> Layer | Sequence[Layer]:
        if isinstance(index, slice):
            return [self[i] for i in range(self._layers)[index]]
        if not 0 <= index < self._layers:
            raise IndexError(index)
        if index not in self._held:
            if len(self._held) == 2:
                self._held.popitem(last=False)
            self._held[index] = self._read_layer(index)
        return self._held[index]
