"""What a model's steps have to read and compute at least, and what a machine can read and compute at most."""

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
