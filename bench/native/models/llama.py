"""Llama's layer as its Hugging Face weights name it."""

from __future__ import annotations

from bench.native.model_config import ModelConfig
from bench.native.models.decoder import LayerWeights, Projection
from bench.native.weights import WeightFiles


def read_layer(files: WeightFiles, config: ModelConfig, index: int) -> LayerWeights:
    """Layer `index`. Raises InputError for a tensor that is missing or of another shape than `config` says."""
    layer = f"model.layers.{index}"
    hidden, intermediate = config.hidden, config.intermediate
    query, key_value = config.query_heads * config.head_dim, config.kv_heads * config.head_dim

    def projection(rows: dict[str, int], columns: int, bias: bool) -> Projection:
        weight = files.read({f"{layer}.{name}.weight": (count, columns) for name, count in rows.items()})
        if not bias:
            return Projection(weight)
        return Projection(weight, files.read({f"{layer}.{name}.bias": (count,) for name, count in rows.items()}))

    qkv = {"self_attn.q_proj": query, "self_attn.k_proj": key_value, "self_attn.v_proj": key_value}
    gate_up = {"mlp.gate_proj": intermediate, "mlp.up_proj": intermediate}
    return LayerWeights(
        attention_norm=files.read({f"{layer}.input_layernorm.weight": (hidden,)}),
        qkv=projection(qkv, hidden, config.attention_bias),
        qk_norm=None,
        attention_output=projection({"self_attn.o_proj": hidden}, query, config.attention_bias),
        mlp_norm=files.read({f"{layer}.post_attention_layernorm.weight": (hidden,)}),
        gate_up=projection(gate_up, hidden, config.mlp_bias),
        down=projection({"mlp.down_proj": hidden}, intermediate, config.mlp_bias),
    )
