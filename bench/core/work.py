"""What a model's steps have to do at least, what a machine can do at most, and how right it was done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelWork:
    """The part of a step's work that follows from the model's shapes and formats; the rest stands in its StepRow.

    Bytes are those kept in memory, so quantised weights count as they are read. A multiplication and an addition are
    two floating-point operations.
    """

    weight_bytes: int
    """Read by every step, however few its tokens: all but the embedding, the output projection and routed experts."""
    output_bytes: int
    """Of the output projection, read by a step in which some row gets logits."""
    expert_bytes: int
    """Of one routed expert of one layer, read by a step that sends it a token; 0 for a dense model."""
    flops_per_token: int
    """In projections and experts, for each token computed."""
    flops_per_logit_row: int


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one device, or one node without accelerators, can do at most."""

    bytes_per_s: float
    flops_per_s: float
    source: str
    """The datasheet's name, or how it was measured."""


WHOLE_DISTRIBUTIONS = "whole distributions"


@dataclass(frozen=True, slots=True)
class AccuracyFigures:
    """How far an engine's distributions over the next token are from a reference's, over fixed texts.

    A figure is None where some distribution it is taken from holds no numbers.
    """

    tokens: int
    """Positions compared."""
    kl_mean: float | None
    """Kullback-Leibler divergence of the engine from the reference, in nats a token."""
    kl_max: float | None
    top1_agreement: float
    """Share of positions whose most likely token is the same."""
    perplexity: float | None
    reference_perplexity: float | None
    perplexity_difference: float | None
    """Relative: 0.01 is one percent more than the reference's."""
    reference: str
    """How the reference was computed; one in less than float32 makes these figures bounds."""
    told: str = WHOLE_DISTRIBUTIONS
    """What the engine told at each position; where that is less, some figures are lower bounds, and this says which."""
    perplexity_tokens: int | None = None
    """Positions that both perplexities are of; None is all that a text goes on from."""
