"""Which steps run in graphs: what was asked for, cut down to what the kernels and the device can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from neokernels.paged_attention import paged_attention
from neokernels.registry import Choice

from bench.core.axes import GraphMode, GraphSizes


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """What an engine is asked to do with graphs, and the steps it will have to run."""

    mode: GraphMode
    sizes: GraphSizes
    max_tokens: int
    """Largest captured step."""
    max_running: int
    step_tokens: int
    drafted_tokens: int = 0
    """Most tokens a speculator drafts for one request and step."""


@dataclass(frozen=True, slots=True)
class Downgrade:
    wanted: GraphMode
    got: GraphMode
    reason: str


@dataclass(frozen=True, slots=True)
class ResolvedMode:
    requested: GraphMode
    planned: GraphMode
    """What the kernels allow: steps are dispatched by it."""
    captured: GraphMode
    """What the device allows of that: `planned`, or `none` on a device without graphs."""
    query_lens: tuple[int, ...]
    """Tokens a request in the decode steps that are held whole: 1, and 1 + drafts where a speculator drafts."""
    downgrades: tuple[Downgrade, ...]


def resolve_mode(
    settings: GraphSettings, choices: Sequence[Choice], device: torch.device, *, capturable: bool
) -> ResolvedMode:
    """`choices`: what the registry resolved for the model. `capturable`: whether graphs can be captured on `device`."""
    attention = next(choice for choice in choices if choice.operation == paged_attention.name)
    others = [choice for choice in choices if choice is not attention]
    downgrades = list(_downgrades(settings.mode, attention, others))
    planned = downgrades[-1].got if downgrades else settings.mode
    captured = planned
    if planned != "none" and not capturable:
        captured = "none"
        downgrades.append(Downgrade(planned, "none", f"a {device.type} has no graphs"))
    return ResolvedMode(
        settings.mode, planned, captured, _query_lens(planned, attention, settings.drafted_tokens), tuple(downgrades)
    )


def _downgrades(mode: GraphMode, attention: Choice, others: Sequence[Choice]) -> Iterator[Downgrade]:
    """What the kernels take from `mode`."""
    if mode == "none":
        return
    refusing = next((choice for choice in others if choice.graphs == "never"), None)
    if refusing is not None:
        yield Downgrade(mode, "none", f"{refusing.operation} '{refusing.implementation}' cannot be captured")
    elif attention.graphs == "never" and mode != "piecewise":
        reason = f"attention '{attention.implementation}' cannot be captured"
        yield Downgrade(mode, "none" if mode == "decode_full" else "piecewise", reason)
    elif attention.graphs != "always" and mode == "full":
        steps = "single tokens" if attention.graphs == "single_token" else "equally many tokens a request"
        reason = f"attention '{attention.implementation}' can be captured for steps of {steps} only"
        yield Downgrade(mode, "full_and_piecewise", reason)


def _query_lens(mode: GraphMode, attention: Choice, drafted_tokens: int) -> tuple[int, ...]:
    if mode not in ("decode_full", "full_and_piecewise"):
        return ()
    return (1,) if drafted_tokens == 0 or attention.graphs == "single_token" else (1, 1 + drafted_tokens)
