"""Llama's layer as its Hugging Face weights name it."""

from __future__ import annotations

from neokernels.linear import Linear
from neokernels.rope_kv_write import QkNorm
from torch import Tensor

from bench.native.model_config import ModelConfig
from bench.native.models.attention import GroupedQueryAttention
from bench.native.models.gated_mlp import GatedMlp
from bench.native.models.layer import Attention, FeedForward, Layer, Norm
from bench.native.models.operations import Operations
from bench.native.models.projection import reads_fp8
from bench.native.weights import WeightSource


def read_layer(source: WeightSource, config: ModelConfig, index: int, operations: Operations) -> Layer:
    """Layer `index`. Raises InputError for a tensor that is missing or of another shape than `config` says."""
    attention = read_attention(source, config, index, operations, qk_norm=None)
    feed_forward = read_mlp(source, config, index, operations)
    return with_norms(source, config, index, operations, attention, feed_forward)


def with_norms(
    source: WeightSource,
    config: ModelConfig,
    index: int,
    operations: Operations,
    attention: Attention,
    feed_forward: FeedForward,
) -> Layer:
    """Layer `index` of the parts it is given and the two norms before them."""

    def norm(name: str, quantised: bool) -> Norm:
        weight = source.read({f"model.layers.{index}.{name}.weight": (config.hidden,)})
        return Norm(weight, config.rms_eps, operations.add_norm(quantised))

    return Layer(
        # The first norm of a model is behind no sum.
        attention_norm=norm("input_layernorm", quantised=index > 0 and attention.reads_fp8),
        attention=attention,
        feed_forward_norm=norm("post_attention_layernorm", quantised=feed_forward.reads_fp8),
        feed_forward=feed_forward,
    )


def read_attention(
    source: WeightSource,
    config: ModelConfig,
    index: int,
    operations: Operations,
    qk_norm: QkNorm | None,
    sinks: Tensor | None = None,
) -> GroupedQueryAttention:
    attention = f"model.layers.{index}.self_attn"
    query, key_value = config.query_heads * config.head_dim, config.kv_heads * config.head_dim
    qkv = {f"{attention}.q_proj": query, f"{attention}.k_proj": key_value, f"{attention}.v_proj": key_value}
    out = {f"{attention}.o_proj": config.hidden}
    return GroupedQueryAttention(
        operations=operations,
        qkv=read_projection(source, operations, qkv, config.hidden, config.attention_bias),
        out=read_projection(source, operations, out, query, config.attention_bias),
        qk_norm=qk_norm,
        scale=config.head_dim**-0.5,
        window=config.windows[index],
        sinks=sinks,
    )


def read_mlp(source: WeightSource, config: ModelConfig, index: int, operations: Operations) -> GatedMlp:
    mlp = f"model.layers.{index}.mlp"
    return read_gated_mlp(source, operations, mlp, config.hidden, config.intermediate, config.mlp_bias)


def read_gated_mlp(
    source: WeightSource, operations: Operations, name: str, hidden: int, intermediate: int, bias: bool
) -> GatedMlp:
    gate_up = {f"{name}.gate_proj": intermediate, f"{name}.up_proj": intermediate}
    up = read_projection(source, operations, gate_up, hidden, bias)
    down = read_projection(source, operations, {f"{name}.down_proj": hidden}, intermediate, bias)
    return GatedMlp(up, operations.activation(reads_fp8(down)), down)


def read_projection(
    source: WeightSource, operations: Operations, rows: dict[str, int], columns: int, bias: bool
) -> Linear:
    """The named projections, each with as many rows, stacked into one that reads `columns`."""
    weight = source.read({f"{name}.weight": (count, columns) for name, count in rows.items()})
    biases = source.read({f"{name}.bias": (count,) for name, count in rows.items()}) if bias else None
    return operations.prepare_linear(weight, biases)
