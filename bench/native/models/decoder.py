"""A dense pre-norm decoder: what Llama and Qwen3 have in common, run over a paged KV cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from neokernels.rope_kv_write import QkNorm, rotary_factors
from torch import Tensor

from bench.native.batch import Batch
from bench.native.kv_pool import KvPool
from bench.native.model_config import ModelConfig
from bench.native.models.operations import Operations
from bench.native.rotary import rotary_frequencies


@dataclass(frozen=True, slots=True)
class Projection:
    """A weight [N, K], in the layout its operation reads, and, where the model has one, its bias [N]."""

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer. Projections that read the same input are stacked into one."""

    attention_norm: Tensor
    qkv: Projection
    qk_norm: QkNorm | None
    attention_output: Projection
    mlp_norm: Tensor
    gate_up: Projection
    down: Projection

    def laid_out(self, layout: Callable[[Tensor], Tensor]) -> LayerWeights:
        """The same layer, the weight of each projection in another layout."""

        def changed(projection: Projection) -> Projection:
            return replace(projection, weight=layout(projection.weight))

        return replace(
            self,
            qkv=changed(self.qkv),
            attention_output=changed(self.attention_output),
            gate_up=changed(self.gate_up),
            down=changed(self.down),
        )


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    embedding: Tensor
    """[V, H]."""
    layers: tuple[LayerWeights, ...]
    final_norm: Tensor
    output: Tensor
    """[V, H]; the embedding itself where the two are tied."""


class Decoder:
    """A model ready to step: its weights on their device and the operations resolved for it."""

    def __init__(
        self, config: ModelConfig, weights: DecoderWeights, operations: Operations, parameter_bytes: int
    ) -> None:
        self.config = config
        self.parameter_bytes = parameter_bytes
        self._weights = weights
        self._operations = operations
        self._frequencies = rotary_frequencies(config, weights.embedding.device)

    @torch.inference_mode()
    def forward(self, batch: Batch, kv: KvPool) -> Tensor:
        """One step, as `Model.forward` says."""
        ops, weights, eps = self._operations, self._weights, self.config.rms_eps
        residual = ops.embedding(weights.embedding, batch.token_ids)
        rotary = rotary_factors(batch.positions, self._frequencies, residual.dtype)
        hidden = ops.rms_norm(residual, weights.layers[0].attention_norm, eps)
        following_norms = [layer.attention_norm for layer in weights.layers[1:]] + [weights.final_norm]
        for index, (layer, following_norm) in enumerate(zip(weights.layers, following_norms, strict=True)):
            hidden = self._attend(layer, hidden, rotary, batch, kv.layer(index))
            if following_norm is weights.final_norm:
                # Nothing reads the other rows beyond the last layer's keys and values.
                hidden, residual = hidden[batch.last_rows], residual[batch.last_rows]
            hidden, residual = ops.add_rms_norm(
                self._project(hidden, layer.attention_output), residual, layer.mlp_norm, eps
            )
            hidden = self._project(ops.silu_mul(self._project(hidden, layer.gate_up)), layer.down)
            hidden, residual = ops.add_rms_norm(hidden, residual, following_norm, eps)
        return ops.linear(hidden, weights.output, None).float()

    def _attend(
        self,
        layer: LayerWeights,
        hidden: Tensor,
        rotary: tuple[Tensor, Tensor],
        batch: Batch,
        cache: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Attention before its output projection, [T, query heads · D]."""
        query = self._operations.rope_kv_write(
            self._project(hidden, layer.qkv), *rotary, batch.slots, *cache, layer.qk_norm
        )
        scale = self.config.head_dim**-0.5
        return self._operations.paged_attention(query, *cache, batch.layout, scale).flatten(1)

    def _project(self, x: Tensor, projection: Projection) -> Tensor:
        return self._operations.linear(x, projection.weight, projection.bias)
