"""The tensors of the paged KV cache: one pool of equal blocks, the same block number in every layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from neokernels.cpu import huge_pages
from torch import Tensor

from bench.core.errors import EngineError
from bench.native.device import free_bytes


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What a model keeps of each token, in every layer."""

    layers: int
    kv_heads: int
    key_dim: int
    value_dim: int
    value_in_key: bool = False
    """The value is the first `value_dim` columns of the key, and nothing else is kept: a latent cache (MLA)."""

    def bytes_per_token(self, dtype: torch.dtype) -> int:
        """KV bytes one token takes over all layers."""
        kept = self.key_dim if self.value_in_key else self.key_dim + self.value_dim
        return self.layers * self.kv_heads * kept * dtype.itemsize


class KvPool:
    """Keys and values of all layers, [layers, blocks, block tokens, KV heads, key or value dim] each.

    The memory is not cleared: attention reads no slot that was not written for the request it serves.
    """

    def __init__(
        self, shape: CacheShape, blocks: int, block_tokens: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Raises EngineError with both sizes when the pool does not fit the device."""
        self.blocks = blocks
        self.block_tokens = block_tokens
        self.bytes = blocks * block_tokens * shape.bytes_per_token(dtype)
        free = free_bytes(device)
        too_large = EngineError(
            f"a KV pool of {blocks} blocks of {block_tokens} tokens needs {self.bytes:,} bytes, "
            f"but {free:,} are free on {device}"
        )
        if self.bytes > free:
            raise too_large
        slots = (shape.layers, blocks, block_tokens, shape.kv_heads)
        try:
            keys = _room((*slots, shape.key_dim), dtype, device)
            if shape.value_in_key:
                values = keys[..., : shape.value_dim]
            else:
                values = _room((*slots, shape.value_dim), dtype, device)
        except RuntimeError as error:
            raise too_large from error
        self._layers = tuple(zip(keys.unbind(), values.unbind(), strict=True))

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Key and value cache of one layer, [blocks, block tokens, KV heads, key or value dim] each."""
        return self._layers[index]


def _room(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Not cleared."""
    if device.type == "cpu":
        return huge_pages.empty(shape, dtype)
    return torch.empty(shape, dtype=dtype, device=device)
