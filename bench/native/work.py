"""What a model's steps must read and compute, by the shapes of its layers and the formats they are kept in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bench.core.work import ModelWork
from bench.native.batch import HostBatch
from bench.native.kv_pool import CacheShape
from bench.native.model_config import ModelConfig
from bench.native.models.decoder import Decoder
from bench.native.request import Slice


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

    def counts(self, slices: Sequence[Slice], host: HostBatch, prefill_tokens: int) -> dict[str, int]:
        """Fields of the StepRow of a step that is laid out, by name."""
        kv_bytes, attention_flops = self.of_step(host.query_lens, host.context_lens)
        return {
            "prefill_tokens": prefill_tokens,
            "decode_tokens": len(host.token_ids) - prefill_tokens,
            "requests": len(slices),
            "context_tokens": int(host.context_lens.sum()),
            "kv_bytes": kv_bytes,
            "attention_flops": attention_flops,
            "logit_rows": len(host.logit_rows),
            "drafted_tokens": sum(one.drafts for one in slices),
        }


def model_work(model: Decoder) -> ModelWork:
    """The part of a step's work that does not depend on contexts, of all ranks together: each reads as much."""
    config, ranks = model.config, model.collectives.ranks.size
    routed = model.experts
    return ModelWork(
        weight_bytes=ranks * (model.layer_bytes - sum(experts.nbytes for experts in routed)),
        output_bytes=ranks * model.output_bytes,
        expert_bytes=ranks * routed[0].bytes_per_expert if routed else 0,
        flops_per_token=2
        * sum(_attention_weights(config) + _feed_forward_weights(config, i) for i in range(model.layers)),
        flops_per_logit_row=2 * config.vocabulary * config.hidden,
    )


def _attention_weights(config: ModelConfig) -> int:
    """Weights of one layer's attention that each token is multiplied with."""
    hidden, heads, latent = config.hidden, config.query_heads, config.latent
    if latent is None:
        return hidden * config.head_dim * (2 * heads + 2 * config.kv_heads)
    rank, query = latent.query_rank, heads * latent.query_dim
    into_query = hidden * query if rank is None else rank * (hidden + query)
    through_latent = heads * latent.rank * (latent.plain_dim + latent.value_dim)
    return into_query + hidden * latent.cached_dim + through_latent + heads * latent.value_dim * hidden


def _feed_forward_weights(config: ModelConfig, layer: int) -> int:
    """Weights of one layer's feed-forward that each token is multiplied with."""
    moe = config.moe
    if moe is None or layer in moe.dense_layers:
        return 3 * config.hidden * config.intermediate
    experts = moe.experts_per_token + moe.shared_experts
    return config.hidden * (moe.experts + 3 * experts * moe.expert_intermediate)
