"""gpt-oss's layer: attention with sinks, in every other layer through a window, and a routed feed-forward.

Its experts lie stacked, the rows of gate and up by turns: as blocks of four-bit values the way OpenAI released them, or
dense and transposed the way transformers saves them. Blocks are made dense, a layer at a time; where weights are kept
in mxfp4, quantising them again gives back the very values they came with.
"""

from __future__ import annotations

import torch
from neokernels.moe import Experts, ExpertWeights
from neokernels.silu_mul import SwigluClamp
from torch import Tensor

from bench.native.model_config import ModelConfig, MoeConfig
from bench.native.models import llama
from bench.native.models.layer import Layer
from bench.native.models.moe import MixtureOfExperts, read_softmax_router
from bench.native.models.operations import Operations
from bench.native.weights import WeightSource


def read_layer(source: WeightSource, config: ModelConfig, index: int, operations: Operations) -> Layer:
    """Layer `index`. Raises InputError for a tensor that is missing or of another shape than `config` says."""
    assert config.moe is not None
    layer = f"model.layers.{index}"
    sinks = source.read({f"{layer}.self_attn.sinks": (config.query_heads,)})
    attention = llama.read_attention(source, config, index, operations, qk_norm=None, sinks=sinks)
    feed_forward = MixtureOfExperts(
        read_softmax_router(source, config, config.moe, f"{layer}.mlp.router", operations),
        _read_experts(source, config, config.moe, f"{layer}.mlp.experts", operations),
    )
    return llama.with_norms(source, config, index, operations, attention, feed_forward)


def _read_experts(
    source: WeightSource, config: ModelConfig, moe: MoeConfig, name: str, operations: Operations
) -> Experts:
    experts, hidden, intermediate = moe.experts, config.hidden, moe.expert_intermediate
    weights = ExpertWeights(
        _gate_first(_read_stack(source, config, f"{name}.gate_up_proj", (experts, 2 * intermediate, hidden))),
        _read_stack(source, config, f"{name}.down_proj", (experts, hidden, intermediate)).contiguous(),
        _gate_first(source.read({f"{name}.gate_up_proj_bias": (experts, 2 * intermediate)})),
        source.read({f"{name}.down_proj_bias": (experts, hidden)}),
    )
    clamp = None if moe.swiglu_limit is None else SwigluClamp(moe.swiglu_alpha, moe.swiglu_limit)
    return operations.prepare_experts(weights, clamp)


def _read_stack(source: WeightSource, config: ModelConfig, name: str, shape: tuple[int, int, int]) -> Tensor:
    """One weight of all experts, [experts, outputs, inputs]."""
    if config.stored_format == "mxfp4":
        return source.read_mxfp4(name, shape)
    experts, outputs, inputs = shape
    return source.read({name: (experts, inputs, outputs)}).transpose(1, 2)


def _gate_first(by_turns: Tensor) -> Tensor:
    """[experts, 2·I, ...] with the rows of the gate before those of up."""
    return torch.cat((by_turns[:, ::2], by_turns[:, 1::2]), dim=1)
