"""A pre-norm decoder over a paged KV cache, in stages that a CUDA graph may hold one by one or all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from neokernels.linear import Linear
from neokernels.moe import Experts
from torch import Tensor

from bench.native.batch import Batch
from bench.native.kv_pool import CacheShape, KvPool
from bench.native.model_config import ModelConfig
from bench.native.models.kept import kept_bytes
from bench.native.models.layer import Layer, Norm, Rotary
from bench.native.models.moe import MixtureOfExperts
from bench.native.models.operations import Operations
from bench.native.models.projection import Hidden, project
from bench.native.parallel.collectives import Collectives
from bench.native.rotary import rotary_frequencies, rotary_magnitude


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    embedding: Tensor
    """[V, H]."""
    layers: Sequence[Layer]
    final_norm: Norm
    output: Linear
    """[V, H]."""


class Flow(NamedTuple):
    """What one stage leaves to the next."""

    query: Tensor
    """[T, heads, key dim], for the attention that follows."""
    residual: Tensor
    """[T, H]."""
    rotary: Rotary


class Decoder:
    """A model ready to step: its weights on their device and the operations resolved for it.

    A step is `begin`, then for each layer `attend` and what lies `between` it and the next, then `finish`.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: DecoderWeights,
        operations: Operations,
        cache_shape: CacheShape,
        parameter_bytes: int,
        collectives: Collectives,
    ) -> None:
        self.config = config
        self.cache_shape = cache_shape
        self.parameter_bytes = parameter_bytes
        self.collectives = collectives
        self._weights = weights
        self._operations = operations
        self._frequencies = rotary_frequencies(config.rotary, weights.embedding.device)
        self._magnitude = rotary_magnitude(config.rotary)

    @cached_property
    def experts(self) -> tuple[Experts, ...]:
        """Of each routed layer."""
        feed_forwards = (layer.feed_forward for layer in self._weights.layers)
        return tuple(routed.experts for routed in feed_forwards if isinstance(routed, MixtureOfExperts))

    @property
    def layers(self) -> int:
        return len(self._weights.layers)

    @property
    def layer_bytes(self) -> int:
        """Bytes that all layers and the final norm are kept in."""
        return kept_bytes((*self._weights.layers, self._weights.final_norm))

    @property
    def output_bytes(self) -> int:
        """Bytes that the output projection is kept in."""
        return self._weights.output.nbytes

    def experts_touched(self) -> Tensor | None:
        """As `Model.experts_touched` says."""
        return torch.stack([experts.touched for experts in self.experts]).sum() if self.experts else None

    @torch.inference_mode()
    def forward(self, batch: Batch, kv: KvPool) -> Tensor:
        """One step, as `Model.forward` says."""
        flow = self.begin(batch, kv)
        for index in range(self.layers - 1):
            flow = self.between(index, self.attend(index, flow.query, batch, kv), flow, batch, kv)
        return self.finish(self.attend(self.layers - 1, flow.query, batch, kv), flow, batch)

    def begin(self, batch: Batch, kv: KvPool) -> Flow:
        """From token ids to the queries of the first layer."""
        residual = self._operations.embedding(self._weights.embedding, batch.token_ids)
        rotary = Rotary(
            *self._operations.rotary_factors(batch.positions, self._frequencies, residual.dtype, self._magnitude)
        )
        first = self._weights.layers[0]
        hidden = self._operations.rms_norm(residual, first.attention_norm.weight, first.attention_norm.eps)
        return Flow(first.attention.project(hidden, rotary, batch.cache_slots, kv.layer(0)), residual, rotary)

    def attend(self, index: int, query: Tensor, batch: Batch, kv: KvPool) -> Tensor:
        """Attention of layer `index`, [T, heads, value dim]."""
        return self._weights.layers[index].attention.attend(query, kv.layer(index), batch.layout)

    def between(self, index: int, attended: Tensor, flow: Flow, batch: Batch, kv: KvPool) -> Flow:
        """From the attention of layer `index` to the queries of the next."""
        following = self._weights.layers[index + 1]
        hidden, residual = self._feed_forward(index, attended, flow.residual, batch.live_rows, following.attention_norm)
        query = following.attention.project(hidden, flow.rotary, batch.cache_slots, kv.layer(index + 1))
        return Flow(query, residual, flow.rotary)

    def finish(self, attended: Tensor, flow: Flow, batch: Batch) -> Tensor:
        """From the last attention to the logits [L, V] float32 of the rows that get some."""
        # Nothing reads the other rows beyond the last layer's keys and values.
        rows = batch.logit_rows
        live = None if batch.live_rows is None else batch.live_rows[rows]
        hidden, _ = self._feed_forward(
            self.layers - 1, attended[rows], flow.residual[rows], live, self._weights.final_norm
        )
        return self.collectives.all_gather(project(self._weights.output, hidden)).float()

    def _feed_forward(
        self, index: int, attended: Tensor, residual: Tensor, live: Tensor | None, following_norm: Norm
    ) -> tuple[Hidden, Tensor]:
        """The rest of layer `index` and the norm that follows it: the normalised sum and the sum."""
        layer, all_reduce = self._weights.layers[index], self.collectives.all_reduce
        hidden, residual = layer.feed_forward_norm(all_reduce(layer.attention.output(attended)), residual)
        return following_norm(all_reduce(layer.feed_forward(hidden, live)), residual)
