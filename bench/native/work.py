"""What attention must read and compute in a step, by the shapes of the model's layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bench.native.kv_pool import CacheShape
from bench.native.model_config import ModelConfig


@dataclass(frozen=True, slots=True)
class AttentionWork:
    """Per layer, counted over layers that see equally far."""

    layers: tuple[tuple[int | None, int], ...]
    """How many tokens back a query sees, itself included (None: all), and in how many layers."""
    bytes_per_token: int
    """One token's key and value in one layer."""
    flops_per_pair: int
    """One query token and one token it sees, in one layer."""

    @staticmethod
    def of(config: ModelConfig, shape: CacheShape, kv_dtype: torch.dtype) -> AttentionWork:
        return AttentionWork(
            layers=tuple(Counter(config.windows).items()),
            bytes_per_token=shape.bytes_per_token(kv_dtype) // shape.layers,
            # A product of query and key, and one of weight and value, each a multiplication and an addition.
            flops_per_pair=2 * config.query_heads * (shape.key_dim + shape.value_dim),
        )

    def of_step(self, query_lens: NDArray[np.int64], context_lens: NDArray[np.int64]) -> tuple[int, int]:
        """Bytes read and operations made by R requests; query_lens, context_lens [R] as in `HostBatch`.

        Query i of n over a context of c sees c − n + 1 + i tokens. Keys and values are counted once a request, however
        many of its queries read them.
        """
        read_bytes = flops = 0
        for window, layers in self.layers:
            if window is None:
                seen = context_lens
                pairs = query_lens * (2 * context_lens - query_lens + 1) // 2
            else:
                seen = np.minimum(context_lens, query_lens + window - 1)
                # The first queries may see less than a whole window.
                short = np.clip(window - 1 - (context_lens - query_lens), 0, query_lens)
                first = context_lens - query_lens + 1
                pairs = (query_lens - short) * window + short * (2 * first + short - 1) // 2
            read_bytes += layers * self.bytes_per_token * int(seen.sum())
            flops += layers * self.flops_per_pair * int(pairs.sum())
        return read_bytes, flops
