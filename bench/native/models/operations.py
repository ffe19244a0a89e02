"""The operations a model's forward step calls, resolved once for where the model runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neokernels.embedding import embedding
from neokernels.linear import Linear, prepare_linear
from neokernels.paged_attention import PagedLayout, paged_attention
from neokernels.registry import Registry, Target
from neokernels.rms_norm import add_rms_norm, rms_norm
from neokernels.rope_kv_write import QkNorm, rope_kv_write
from neokernels.silu_mul import silu_mul
from torch import Tensor


@dataclass(frozen=True)
class Operations:
    """One implementation an operation; what each computes stands in its file in `neokernels`."""

    embedding: Callable[[Tensor, Tensor], Tensor]
    prepare_linear: Callable[[Tensor, Tensor | None], Linear]
    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    add_rms_norm: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
    rope_kv_write: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, QkNorm | None], Tensor]
    paged_attention: Callable[[Tensor, Tensor, Tensor, PagedLayout, float], Tensor]
    silu_mul: Callable[[Tensor], Tensor]

    @staticmethod
    def resolve(registry: Registry, target: Target) -> Operations:
        return Operations(
            embedding=registry.resolve(embedding, target),
            prepare_linear=registry.resolve(prepare_linear, target),
            rms_norm=registry.resolve(rms_norm, target),
            add_rms_norm=registry.resolve(add_rms_norm, target),
            rope_kv_write=registry.resolve(rope_kv_write, target),
            paged_attention=registry.resolve(paged_attention, target),
            silu_mul=registry.resolve(silu_mul, target),
        )
