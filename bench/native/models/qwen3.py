"""Qwen3's layer: Llama's with an RMS norm over each query and key head."""

from __future__ import annotations

from neokernels.rope_kv_write import QkNorm

from bench.native.model_config import ModelConfig
from bench.native.models import llama
from bench.native.models.layer import Layer
from bench.native.models.operations import Operations
from bench.native.weights import WeightFiles


def read_layer(files: WeightFiles, config: ModelConfig, index: int, operations: Operations) -> Layer:
    """Layer `index`. Raises InputError for a tensor that is missing or of another shape than `config` says."""
    attention = llama.read_attention(files, config, index, operations, read_qk_norm(files, config, index))
    return llama.with_norms(files, config, index, attention, llama.read_mlp(files, config, index, operations))


def read_qk_norm(files: WeightFiles, config: ModelConfig, index: int) -> QkNorm:
    attention = f"model.layers.{index}.self_attn"
    return QkNorm(
        query_weight=files.read({f"{attention}.q_norm.weight": (config.head_dim,)}),
        key_weight=files.read({f"{attention}.k_norm.weight": (config.head_dim,)}),
        eps=config.rms_eps,
    )
