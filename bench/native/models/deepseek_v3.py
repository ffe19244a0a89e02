"""DeepSeek-V3's layer: attention over latents, and past the first few layers a feed-forward routed by groups.

R1 is the same model trained further. Checkpoints carry a further layer that predicts a second token; it is not read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from neokernels.linear import Linear
from torch import Tensor

from bench.native.model_config import LatentConfig, ModelConfig, MoeConfig, YarnScaling, attention_temperature
from bench.native.models import llama
from bench.native.models.latent_attention import LatentAttention, QueryFromRank
from bench.native.models.layer import FeedForward, Layer
from bench.native.models.moe import MixtureOfExperts, read_experts
from bench.native.models.operations import Operations
from bench.native.weights import WeightSource


@dataclass(frozen=True, slots=True)
class GroupedRouter:
    """Computed in float32 whatever the model's dtype, as it was trained: experts differ in the last digits."""

    logits: Linear
    bias: Tensor
    route: Callable[[Tensor, Tensor, int, int, int, bool, float], tuple[Tensor, Tensor]]
    moe: MoeConfig

    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        moe = self.moe
        return self.route(
            self.logits(hidden.float()),
            self.bias,
            moe.experts_per_token,
            moe.groups,
            moe.groups_per_token,
            moe.normalise_top_k,
            moe.routed_scaling,
        )


def read_layer(source: WeightSource, config: ModelConfig, index: int, operations: Operations) -> Layer:
    """Layer `index`. Raises InputError for a tensor that is missing or of another shape than `config` says."""
    attention = _read_attention(source, config, index, operations)
    feed_forward = _read_feed_forward(source, config, index, operations)
    return llama.with_norms(source, config, index, operations, attention, feed_forward)


def _read_attention(source: WeightSource, config: ModelConfig, index: int, operations: Operations) -> LatentAttention:
    latent, name = config.latent, f"model.layers.{index}.self_attn"
    assert latent is not None
    down, query = _read_down(source, config, latent, name, operations)
    heads, rank = config.query_heads, latent.rank
    up = source.read({f"{name}.kv_b_proj.weight": (heads * (latent.plain_dim + latent.value_dim), rank)})
    keys, values = up.view(-1, latent.plain_dim + latent.value_dim, rank).tensor_split([latent.plain_dim], dim=1)
    out = {f"{name}.o_proj": config.hidden}
    return LatentAttention(
        operations=operations,
        write=operations.latent_kv_write,
        config=latent,
        down=down,
        query=query,
        latent_norm=source.read({f"{name}.kv_a_layernorm.weight": (rank,)}),
        into_latent=operations.prepare_head_linear(keys.transpose(1, 2).contiguous()),
        from_latent=operations.prepare_head_linear(values.contiguous()),
        out=llama.read_projection(source, operations, out, heads * latent.value_dim, config.attention_bias),
        scale=_softmax_scale(config, latent),
    )


def _read_down(
    source: WeightSource, config: ModelConfig, latent: LatentConfig, name: str, operations: Operations
) -> tuple[Linear, QueryFromRank | None]:
    """The stacked projections out of the hidden state, and what queries pass through after it."""
    rank, rows = latent.query_rank, config.query_heads * latent.query_dim
    first, width = ("q_proj", rows) if rank is None else ("q_a_proj", rank)
    shapes = {first: (width, config.hidden), "kv_a_proj_with_mqa": (latent.cached_dim, config.hidden)}
    weight = source.read({f"{name}.{part}.weight": shape for part, shape in shapes.items()})
    query_weight, latent_weight = weight.tensor_split([-latent.cached_dim])
    _pair_halves(latent_weight, latent)
    query = None
    if rank is None:
        _pair_halves(query_weight.view(-1, latent.query_dim, config.hidden), latent)
    else:
        up = source.read({f"{name}.q_b_proj.weight": (rows, rank)})
        _pair_halves(up.view(-1, latent.query_dim, rank), latent)
        norm = source.read({f"{name}.q_a_layernorm.weight": (rank,)})
        query = QueryFromRank(operations, norm, operations.prepare_linear(up, None))
    return operations.prepare_linear(weight, None), query


def _pair_halves(weight: Tensor, latent: LatentConfig) -> None:
    """Reorder the last, rotated rows of weight [..., rows, K] so that rotation pairs halves, not neighbours.

    Rows of queries and keys change places alike, so their products stay what they were.
    """
    if latent.interleaved:
        turning = weight[..., -latent.rotary_dim :, :]
        turning.copy_(torch.cat((turning[..., ::2, :], turning[..., 1::2, :]), dim=-2))


def _softmax_scale(config: ModelConfig, latent: LatentConfig) -> float:
    scale, scaling = 1 / math.sqrt(latent.query_dim), config.rotary.scaling
    if isinstance(scaling, YarnScaling) and scaling.mscale_all_dim:
        # Once for the query and once for the key, whose plain parts the factor of the cosines never reaches.
        scale *= attention_temperature(scaling.factor, scaling.mscale_all_dim) ** 2
    return scale


def _read_feed_forward(source: WeightSource, config: ModelConfig, index: int, operations: Operations) -> FeedForward:
    moe, mlp = config.moe, f"model.layers.{index}.mlp"
    assert moe is not None
    if index in moe.dense_layers:
        return llama.read_mlp(source, config, index, operations)
    gate = source.read({f"{mlp}.gate.weight": (moe.experts, config.hidden)}, torch.float32)
    bias = source.read({f"{mlp}.gate.e_score_correction_bias": (moe.experts,)}, torch.float32)
    router = GroupedRouter(operations.prepare_float32_router(gate, None), bias, operations.route_grouped, moe)
    width = moe.shared_experts * moe.expert_intermediate
    return MixtureOfExperts(
        router,
        read_experts(source, config, moe, f"{mlp}.experts", operations),
        llama.read_gated_mlp(source, operations, f"{mlp}.shared_experts", config.hidden, width, bias=False),
    )
