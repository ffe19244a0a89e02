"""The tensors of the paged KV cache: one pool of equal blocks, the same block number in every layer."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.errors import EngineError
from bench.native.device import free_bytes
from bench.native.model_config import ModelConfig


def bytes_per_token(config: ModelConfig, dtype: torch.dtype) -> int:
    """KV bytes one token takes over all layers: a key and a value a layer."""
    return 2 * config.layers * config.kv_heads * config.head_dim * dtype.itemsize


class KvPool:
    """Keys and values of all layers, [layers, blocks, block tokens, KV heads, head dim] each.

    The memory is not cleared: attention reads no slot that was not written for the request it serves.
    """

    def __init__(
        self, config: ModelConfig, blocks: int, block_tokens: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Raises EngineError with both sizes when the pool does not fit the device."""
        self.blocks = blocks
        self.block_tokens = block_tokens
        self.bytes = blocks * block_tokens * bytes_per_token(config, dtype)
        shape = (config.layers, blocks, block_tokens, config.kv_heads, config.head_dim)
        free = free_bytes(device)
        too_large = EngineError(
            f"a KV pool of {blocks} blocks of {block_tokens} tokens needs {self.bytes:,} bytes, "
            f"but {free:,} are free on {device}"
        )
        if self.bytes > free:
            raise too_large
        try:
            keys = torch.empty(shape, dtype=dtype, device=device)
            values = torch.empty(shape, dtype=dtype, device=device)
        except RuntimeError as error:
            raise too_large from error
        self._layers = tuple(zip(keys.unbind(), values.unbind(), strict=True))

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Key and value cache of one layer, [blocks, block tokens, KV heads, head dim] each."""
        return self._layers[index]
