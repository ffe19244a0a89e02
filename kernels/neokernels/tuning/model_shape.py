"""A model as its kernels see it: what their problems are derived from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RoutedShape:
    """The routed feed-forwards of a model."""

    experts: int
    experts_per_token: int
    intermediate: int
    """Of one expert."""
    clamped: bool
    """Whether the activation is gpt-oss's."""
    bias: bool
    groups: int = 1
    """Above 1 where a token chooses groups of experts first."""


@dataclass(frozen=True, slots=True)
class LatentShape:
    """Attention over latents."""

    rank: int
    """Dimensions of a token's latent, which are its value too."""
    rotary_dim: int
    """Dimensions of its key beside the latent."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """One rank's part of a decoder, and the steps its kernels are tuned for."""

    hidden: int
    vocabulary: int
    query_heads: int
    kv_heads: int
    head_dim: int
    """Of queries and keys that are kept as they are; with `latent` it is that of no kernel."""
    intermediates: tuple[int, ...]
    """Widths of the dense feed-forwards, each once; empty where all are routed."""
    projections: tuple[tuple[int, int], ...]
    """(outputs, inputs) of the projections that are kept in `weight_format`, each once."""
    dense_projections: tuple[tuple[int, int], ...]
    """Those that stay dense whatever the format: routers, and the projection to logits."""
    qk_norm: bool
    sinks: bool
    windows: tuple[int | None, ...]
    """How far back queries see, each once; None is all the way."""
    routed: RoutedShape | None
    latent: LatentShape | None
    dtype: str
    weight_format: str
    kv_dtype: str
    block_tokens: int
    decode_batches: tuple[int, ...] = (1, 4, 16, 64, 256)
    """Requests of a decode step."""
    prefill_tokens: tuple[int, ...] = (512, 2048, 8192)
    """Tokens of a step that computes prompts."""
    context: int = 4096
    """Tokens a request's queries attend to."""

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows that a step's projections and norms have."""
        return tuple(sorted({*self.decode_batches, *self.prefill_tokens}))
