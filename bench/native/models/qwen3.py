"""Qwen3's layer: Llama's with an RMS norm over each query and key head."""

from __future__ import annotations

from dataclasses import replace

from neokernels.rope_kv_write import QkNorm

from bench.native.model_config import ModelConfig
from bench.native.models import llama
from bench.native.models.decoder import LayerWeights
from bench.native.weights import WeightFiles


def read_layer(files: WeightFiles, config: ModelConfig, index: int) -> LayerWeights:
    """Layer `index`. Raises InputError for a tensor that is missing or of another shape than `config` says."""
    attention = f"model.layers.{index}.self_attn"
    qk_norm = QkNorm(
        query_weight=files.read({f"{attention}.q_norm.weight": (config.head_dim,)}),
        key_weight=files.read({f"{attention}.k_norm.weight": (config.head_dim,)}),
        eps=config.rms_eps,
    )
    return replace(llama.read_layer(files, config, index), qk_norm=qk_norm)
