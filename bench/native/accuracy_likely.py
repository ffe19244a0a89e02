"""The figures of an engine that tells no whole distribution, but its most likely tokens at each position.

Let T be the tokens it tells at a position, p the reference's probabilities, q the engine's, and p_r and q_r what each
leaves to all other tokens together. Then

    Σ_{v∈T} p(v) · log(p(v) / q(v)) + p_r · log(p_r / q_r)  ≤  KL

by the log sum inequality (Cover & Thomas 2006, theorem 2.7.1): what is told for KL is a lower bound of it, a close one
where T holds nearly all of p or of q. The most likely token is told, so agreement on it is exact.

Perplexity is taken where the text's next token is among the reference's |T| most likely: which positions these are does
not depend on the engine. Where the engine does not tell that token, it counts as likely as the least likely of T, which
is at least as likely; so the engine's perplexity is a lower bound too. The reference's is of the same positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bench.core.work import AccuracyFigures
from bench.native.accuracy import Reference

Told = Sequence[tuple[int, float]]
"""The most likely tokens of one position and their log probabilities, the most likely first."""

_LEFT = 1e-6
"""The least an engine is taken to leave to other tokens: below it, float32 roundings of a sum of those it tells."""
_MORE_THAN_ONE = 1 + 1e-3
"""A sum of probabilities that no rounding explains."""


def compare_likely(told: Sequence[Sequence[Told]], reference: Reference) -> AccuracyFigures:
    """told [probes][tokens]: at each position of `reference`, or of the same beginning of each probe."""
    reference = reference.cut(len(told[0]))
    expected = reference.log_probabilities.flatten(0, 1).double()
    places = [place for probe in told for place in probe]
    divergences = torch.tensor([_divergence(p, place) for p, place in zip(expected, places, strict=True)])
    same = [int(p.argmax()) == place[0][0] for p, place in zip(expected, places, strict=True)]
    asked, got = _following(told, reference)
    return AccuracyFigures(
        tokens=len(places),
        kl_mean=_number(divergences.mean()),
        kl_max=_number(divergences.max()),
        top1_agreement=sum(same) / len(same),
        perplexity=_perplexity(got),
        reference_perplexity=_perplexity(asked),
        perplexity_difference=_number((asked - got).mean().exp() - 1) if len(asked) else None,
        reference=reference.computed,
        told=f"the {max(map(len, places))} most likely tokens, so KL and perplexity are lower bounds",
        perplexity_tokens=len(asked),
    )


def _divergence(expected: Tensor, place: Told) -> float:
    """expected [V] float64, log probabilities; infinite where what is told are no probabilities of these tokens."""
    ids, log_q = _columns(place)
    q = log_q.exp().sum()
    if not bool(q <= _MORE_THAN_ONE) or int(ids.max()) >= len(expected):  # the former also where it is NaN
        return math.inf
    log_p = expected[ids]
    p = log_p.exp()
    rest, left = (1 - p.sum()).clamp(min=0), (1 - q).clamp(min=_LEFT)
    return float((p * (log_p - log_q)).nansum() + torch.special.xlogy(rest, rest / left))


def _following(told: Sequence[Sequence[Told]], reference: Reference) -> tuple[Tensor, Tensor]:
    """Log probabilities of the text's next tokens, the reference's and the engine's, where they count."""
    asked, got = [], []
    for probe, places, rows in zip(reference.probes, told, reference.log_probabilities.double(), strict=True):
        for token, place, row in zip(probe[1:], places, rows, strict=False):
            if int((row > row[token]).sum()) < len(place):
                asked.append(float(row[token]))
                got.append(dict(place).get(token, min(log_q for _, log_q in place)))
    return torch.tensor(asked, dtype=torch.float64), torch.tensor(got, dtype=torch.float64)


def _columns(place: Told) -> tuple[Tensor, Tensor]:
    ids, log_q = zip(*place, strict=True)
    return torch.tensor(ids), torch.tensor(log_q, dtype=torch.float64)


def _perplexity(log_probabilities: Tensor) -> float | None:
    return _number((-log_probabilities.mean()).exp()) if len(log_probabilities) else None


def _number(value: Tensor) -> float | None:
    return float(value) if value.isfinite() else None
