"""Which offer is cheapest, or why that cannot be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.core.records import Headline

SPEED_ONLY = "speed only: the model's answers were not checked"
NOTHING_TO_RANK = "no comparable offer"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A group under one term of one offer, as far as ranking needs it."""

    group: str
    offer: str
    term: str
    usd_per_hour: Headline
    usd_per_million_output_tokens: Headline

    @property
    def name(self) -> str:
        return f"{self.offer} ({self.term})"


@dataclass(frozen=True, slots=True)
class Decision:
    """`offer`, `term` and `group` name the cheapest; they are None when there is none or it is undecided."""

    text: str
    banner: str | None
    offer: str | None = None
    term: str | None = None
    group: str | None = None


def decide(candidates: Sequence[Candidate], *, speed_only: bool) -> Decision:
    """The cheapest candidate by dollars per million output tokens, all of them charged by one rule."""
    banner = SPEED_ONLY if speed_only else None
    if not candidates:
        return Decision(NOTHING_TO_RANK, banner)
    ranked = sorted(candidates, key=lambda candidate: centre(candidate.usd_per_million_output_tokens))
    best, rivals = ranked[0], [other for other in ranked[1:] if not _surely_cheaper(ranked[0], other)]
    if rivals:
        tied = "; ".join(f"{candidate.name} at {_dollars(candidate)}" for candidate in (best, *rivals))
        return Decision(f"undecided: intervals overlap: {tied} per million output tokens", banner)
    text = f"{best.name} is cheapest at {_dollars(best)} per million output tokens"
    return Decision(text, banner, best.offer, best.term, best.group)


def centre(headline: Headline) -> float:
    """Where a headline stands in an order: its value, or the middle of its bounds; last when it has neither."""
    if headline.value is not None:
        return headline.value
    if headline.low is None or headline.high is None:
        return float("inf")
    return (headline.low + headline.high) / 2


def _surely_cheaper(one: Candidate, other: Candidate) -> bool:
    # Within one group the tokens are the same tokens: their uncertainty cancels, and only what the hour costs differs.
    if one.group == other.group:
        return _high(one.usd_per_hour) < _low(other.usd_per_hour)
    return _high(one.usd_per_million_output_tokens) < _low(other.usd_per_million_output_tokens)


def _low(headline: Headline) -> float:
    return centre(headline) if headline.low is None else headline.low


def _high(headline: Headline) -> float:
    return centre(headline) if headline.high is None else headline.high


def _dollars(candidate: Candidate) -> str:
    cost = candidate.usd_per_million_output_tokens
    bounds = None if cost.low is None or cost.high is None else f"{cost.low:.4g}-{cost.high:.4g}"
    if cost.value is None:
        return f"${bounds}"
    return f"${cost.value:.4g}" + ("" if bounds is None else f" ({bounds})")
