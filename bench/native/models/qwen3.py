"""Qwen3's layer: Llama's with an RMS norm over each query and key head."""

from __future__ import annotations

from neokernels.rope_kv_write import QkNorm

from bench.native.model_config import ModelConfig
from bench.native.models import llama
from bench.native.models.layer import Layer
from bench.native.models.operations import Operations
from bench.native.weights import WeightSource


def read_layer(source: WeightSource, config: ModelConfig, index: int, operations: Operations) -> Layer:
    """Layer `index`. Raises InputError for a tensor that is missing or of another shape than `config` says."""
    attention = llama.read_attention(source, config, index, operations, read_qk_norm(source, config, index))
    return llama.with_norms(
        source, config, index, operations, attention, llama.read_mlp(source, config, index, operations)
    )


def read_qk_norm(source: WeightSource, config: ModelConfig, index: int) -> QkNorm:
    attention = f"model.layers.{index}.self_attn"
    return QkNorm(
        query_weight=source.read({f"{attention}.q_norm.weight": (config.head_dim,)}),
        key_weight=source.read({f"{attention}.k_norm.weight": (config.head_dim,)}),
        eps=config.rms_eps,
    )
