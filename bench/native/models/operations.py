"""The operations a model's forward step calls, resolved once for where the model runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from neokernels.embedding import embedding
from neokernels.formats.fp8 import Fp8Rows
from neokernels.grouped_routing import route_grouped
from neokernels.head_linear import HeadLinear, prepare_head_linear
from neokernels.latent_kv_write import latent_kv_write
from neokernels.linear import Linear, output_format, prepare_linear, prepare_output
from neokernels.linear_quantised import ReadsFp8
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
from neokernels.quantise_rows import quantise_fp8
from neokernels.registry import Registry, Target
from neokernels.rms_norm import add_rms_norm, rms_norm
from neokernels.rms_norm_quantised import add_rms_norm_fp8
from neokernels.rope_kv_write import QkNorm, rope_kv_write, rotary_factors
from neokernels.silu_mul import SwigluClamp, clamped_swiglu, silu_mul
from neokernels.silu_mul_quantised import silu_mul_fp8
from torch import Tensor

from bench.native.models.projection import Fp8Projection, Hidden


@dataclass(frozen=True)
class Operations:
    """One implementation an operation; what each computes stands in its file in `neokernels`.

    What only some families use is resolved when a layer asks for it, while it is read, so that nothing stands in the
    record that the model does not call.
    """

    embedding: Callable[[Tensor, Tensor], Tensor]
    rotary_factors: Callable[[Tensor, Tensor, torch.dtype, float], tuple[Tensor, Tensor]]
    prepare_plain: PrepareLinear
    """A projection that takes its tokens as they are, whatever becomes of them in it."""
    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    add_rms_norm: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
    rope_kv_write: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, QkNorm | None], Tensor]
    paged_attention: Callable[[Tensor, Tensor, Tensor, PagedLayout, float, int | None, Tensor | None], Tensor]
    registry: Registry
    target: Target

    @staticmethod
    def resolve(registry: Registry, target: Target) -> Operations:
        return Operations(
            embedding=registry.resolve(embedding, target),
            rotary_factors=registry.resolve(rotary_factors, target),
            prepare_plain=registry.resolve(prepare_linear, target),
            rms_norm=registry.resolve(rms_norm, target),
            add_rms_norm=registry.resolve(add_rms_norm, target),
            rope_kv_write=registry.resolve(rope_kv_write, target),
            paged_attention=registry.resolve(paged_attention, target),
            registry=registry,
            target=target,
        )

    def prepare_linear(self, weight: Tensor, bias: Tensor | None) -> Linear:
        linear = self.prepare_plain(weight, bias)
        return Fp8Projection(linear, self.quantise_fp8) if isinstance(linear, ReadsFp8) else linear

    def add_norm(self, quantised: bool = False) -> Callable[[Tensor, Tensor, Tensor, float], tuple[Hidden, Tensor]]:
        """`add_rms_norm`, or the like whose first result is quantised."""
        return self.add_rms_norm_fp8 if quantised else self.add_rms_norm

    def activation(self, quantised: bool) -> Callable[[Tensor], Hidden]:
        """`silu_mul`, or the like whose result is quantised."""
        return self.silu_mul_fp8 if quantised else self.silu_mul

    @cached_property
    def silu_mul(self) -> Callable[[Tensor], Tensor]:
        return self.registry.resolve(silu_mul, self.target)

    @cached_property
    def silu_mul_fp8(self) -> Callable[[Tensor], Fp8Rows]:
        return self.registry.resolve(silu_mul_fp8, self.target)

    @cached_property
    def add_rms_norm_fp8(self) -> Callable[[Tensor, Tensor, Tensor, float], tuple[Fp8Rows, Tensor]]:
        return self.registry.resolve(add_rms_norm_fp8, self.target)

    @cached_property
    def quantise_fp8(self) -> Callable[[Tensor], Fp8Rows]:
        return self.registry.resolve(quantise_fp8, self.target)

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
        activate: Callable[[Tensor], Tensor]
        if clamp is None:
            activate = self.silu_mul
        else:
            activate = partial(self.registry.resolve(clamped_swiglu, self.target), clamp=clamp)
        prepare = self.registry.resolve(prepare_experts, self.target)
        return prepare(weights, GatedActivation(activate, clamp), self.prepare_linear)
