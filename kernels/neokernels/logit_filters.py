"""Which tokens may be drawn, and how much likelier: top-k, top-p, min-p and the repetition penalty.

Each keeps what the class of transformers named after it keeps. A filter keeps every token as likely as the least
likely one it must keep, so that what is kept depends on the values alone and not on how equal ones were sorted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters R rows ask for, one value a row; None where none of them asks."""

    top_k: Tensor | None = None
    """[R] int64, at least 1: the k most likely."""
    most_k: int = 0
    """The largest of `top_k`, which the host knows and the device should not be asked for."""
    top_p: Tensor | None = None
    """[R] float32, below 1: the fewest most likely that together have this probability (Holtzman et al. 2020,
    arXiv:1904.09751), of what top-k left."""
    min_p: Tensor | None = None
    """[R] float32: those at least this share as likely as the likeliest (Nguyen et al. 2025, arXiv:2407.01082)."""


def keep_likely(logits: Tensor, filters: Filters) -> Tensor:
    """`logits` [R, V] float32 with −inf for every token that a filter drops, in the order of transformers."""
    if filters.top_k is not None:
        logits = keep_top_k(logits, filters.top_k, filters.most_k)
    if filters.top_p is not None:
        logits = keep_top_p(logits, filters.top_p)
    if filters.min_p is not None:
        logits = keep_min_p(logits, filters.min_p)
    return logits


def keep_top_k(logits: Tensor, top_k: Tensor, most_k: int) -> Tensor:
    """The `top_k[r]` largest logits of each row; `most_k` is the largest of `top_k`."""
    most_k = min(most_k, logits.shape[-1])
    largest = logits.topk(most_k).values
    threshold = largest.gather(-1, top_k.clamp(max=most_k)[:, None] - 1)
    return logits.masked_fill(logits < threshold, -torch.inf)


def keep_top_p(logits: Tensor, top_p: Tensor) -> Tensor:
    """The fewest most likely tokens of each row whose probabilities together reach `top_p`."""
    # Not a softmax: its sum over all tokens may round differently once dropped ones were packed away. What is added up
    # here in ascending order starts with zeros for those, however many.
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()
    ordered = _ascending(weights)
    mass = ordered.cumsum(-1)
    dropped = (mass <= (1 - top_p[:, None]) * mass[:, -1:]).sum(-1, keepdim=True)
    threshold = ordered.gather(-1, dropped.clamp_(max=logits.shape[-1] - 1))
    return logits.masked_fill(weights < threshold, -torch.inf)


def keep_min_p(logits: Tensor, min_p: Tensor) -> Tensor:
    """The tokens of each row that are at least `min_p` as likely as its likeliest."""
    # A ratio of probabilities is a difference of logits: no softmax is needed.
    threshold = logits.amax(-1, keepdim=True) + min_p.log()[:, None]
    return logits.masked_fill(logits < threshold, -torch.inf)


def penalise_repetition(logits: Tensor, seen: Tensor, penalties: Tensor) -> Tensor:
    """`logits` with those of seen tokens divided by the row's penalty where positive and multiplied where negative.

    logits [R, V] float32; seen [R, V] bool; penalties [R] float32. Keskar et al. 2019 (arXiv:1909.05858) §4.1.
    """
    penalty = penalties[:, None]
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def _ascending(values: Tensor) -> Tensor:
    if values.device.type == "cpu":
        # numpy sorts numbers alone with vector instructions; torch always carries the indices, at many times the cost.
        ordered = values.clone()
        ordered.numpy().sort(-1)
        return ordered
    return values.sort(-1).values
