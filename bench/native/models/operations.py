"""The operations a model's forward step calls, resolved once for where the model runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from neokernels.embedding import embedding
from neokernels.grouped_routing import route_grouped
from neokernels.head_linear import HeadLinear, prepare_head_linear
from neokernels.latent_kv_write import latent_kv_write
from neokernels.linear import output_format, prepare_linear, prepare_output
from neokernels.moe import (
    Experts,
    ExpertWeights,
    GatedActivation,
    PrepareLinear,
    prepare_experts,
    prepare_router,
    route_softmax,
)
from neokernels.paged_attention import PagedLayout, paged_attention
from neokernels.registry import Registry, Target
from neokernels.rms_norm import add_rms_norm, rms_norm
from neokernels.rope_kv_write import QkNorm, rope_kv_write, rotary_factors
from neokernels.silu_mul import SwigluClamp, clamped_swiglu, silu_mul
from torch import Tensor


@dataclass(frozen=True)
class Operations:
    """One implementation an operation; what each computes stands in its file in `neokernels`.

    What only some families use is resolved when a layer asks for it, while it is read, so that nothing stands in the
    record that the model does not call.
    """

    embedding: Callable[[Tensor, Tensor], Tensor]
    rotary_factors: Callable[[Tensor, Tensor, torch.dtype, float], tuple[Tensor, Tensor]]
    prepare_linear: PrepareLinear
    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    add_rms_norm: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
    rope_kv_write: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, QkNorm | None], Tensor]
    paged_attention: Callable[[Tensor, Tensor, Tensor, PagedLayout, float, int | None, Tensor | None], Tensor]
    silu_mul: Callable[[Tensor], Tensor]
    registry: Registry
    target: Target

    @staticmethod
    def resolve(registry: Registry, target: Target) -> Operations:
        return Operations(
            embedding=registry.resolve(embedding, target),
            rotary_factors=registry.resolve(rotary_factors, target),
            prepare_linear=registry.resolve(prepare_linear, target),
            rms_norm=registry.resolve(rms_norm, target),
            add_rms_norm=registry.resolve(add_rms_norm, target),
            rope_kv_write=registry.resolve(rope_kv_write, target),
            paged_attention=registry.resolve(paged_attention, target),
            silu_mul=registry.resolve(silu_mul, target),
            registry=registry,
            target=target,
        )

    @cached_property
    def prepare_output(self) -> PrepareLinear:
        target = replace(self.target, weight_format=output_format(self.target.weight_format))
        return self.registry.resolve(prepare_output, target)

    @cached_property
    def prepare_router(self) -> PrepareLinear:
        return self.registry.resolve(prepare_router, replace(self.target, weight_format="dense"))

    @cached_property
    def route_softmax(self) -> Callable[[Tensor, int, bool], tuple[Tensor, Tensor]]:
        return self.registry.resolve(route_softmax, self.target)

    @cached_property
    def prepare_float32_router(self) -> PrepareLinear:
        return self.registry.resolve(prepare_router, replace(self.target, weight_format="dense", dtype=torch.float32))

    @cached_property
    def route_grouped(self) -> Callable[[Tensor, Tensor, int, int, int, bool, float], tuple[Tensor, Tensor]]:
        return self.registry.resolve(route_grouped, self.target)

    @cached_property
    def prepare_head_linear(self) -> Callable[[Tensor], HeadLinear]:
        return self.registry.resolve(prepare_head_linear, self.target)

    @cached_property
    def latent_kv_write(self) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]:
        return self.registry.resolve(latent_kv_write, self.target)

    def prepare_experts(self, weights: ExpertWeights, clamp: SwigluClamp | None) -> Experts:
        """The experts of a layer; their activation is SwiGLU, bounded by `clamp` unless it is None."""
        activate: Callable[[Tensor], Tensor] = self.silu_mul
        if clamp is not None:
            activate = partial(self.registry.resolve(clamped_swiglu, self.target), clamp=clamp)
        prepare = self.registry.resolve(prepare_experts, self.target)
        return prepare(weights, GatedActivation(activate, clamp), self.prepare_linear)
