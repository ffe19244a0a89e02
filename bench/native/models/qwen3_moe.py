"""Qwen3's layer with a routed feed-forward."""

from __future__ import annotations

from bench.native.model_config import ModelConfig
from bench.native.models import llama, qwen3
from bench.native.models.layer import FeedForward, Layer
from bench.native.models.moe import MixtureOfExperts, read_experts, read_softmax_router
from bench.native.models.operations import Operations
from bench.native.weights import WeightSource


def read_layer(source: WeightSource, config: ModelConfig, index: int, operations: Operations) -> Layer:
    """Layer `index`. Raises InputError for a tensor that is missing or of another shape than `config` says."""
    qk_norm = qwen3.read_qk_norm(source, config, index)
    attention = llama.read_attention(source, config, index, operations, qk_norm)
    feed_forward = _read_feed_forward(source, config, index, operations)
    return llama.with_norms(source, config, index, operations, attention, feed_forward)


def _read_feed_forward(source: WeightSource, config: ModelConfig, index: int, operations: Operations) -> FeedForward:
    moe = config.moe
    if moe is None or index in moe.dense_layers:
        return llama.read_mlp(source, config, index, operations)
    mlp = f"model.layers.{index}.mlp"
    return MixtureOfExperts(
        read_softmax_router(source, config, moe, f"{mlp}.gate", operations),
        read_experts(source, config, moe, f"{mlp}.experts", operations),
    )
