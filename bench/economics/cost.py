"""The cost of a token, from the price of an hour.

c = 1e6 p / (3600 tau U u A g): p is what the machines cost an hour, tau their tokens/s at the service level, U the mean
load over the peak they could carry, u the share of paid units that are allocated at all, A availability, g the share of
tokens in requests that met their service level. Each divides once, here and nowhere else.

Cost is joint: input and output come from the same hour, so a figure states the rule by which the hour was charged. The
whole hour charged to one kind of token bounds that kind's cost from above, and two such figures are never added. Only
the two of the relative-price rule together pay for the hour once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from bench.core.errors import InputError
from bench.core.units import SECONDS_PER_HOUR, TOKENS_PER_MILLION


@dataclass(frozen=True, slots=True)
class Loading:
    """How much of a paid hour serves tokens. Raises InputError for a share outside (0, 1]."""

    utilisation: float = 1.0
    allocation: float = 1.0
    availability: float = 1.0

    def __post_init__(self) -> None:
        for name in ("utilisation", "allocation", "availability"):
            share = getattr(self, name)
            if not 0 < share <= 1:
                raise InputError(f"{name} = {share!r}", allowed="a share above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens/s of all machines together; None where a figure is missing."""

    uncached_input: float | None
    output: float | None
    total: float | None


@dataclass(frozen=True, slots=True)
class TokenCost:
    """Dollars per million tokens under a rule; None where there is no such token to charge."""

    usd_per_million: float | None
    rule: str


@dataclass(frozen=True, slots=True)
class TokenCosts:
    uncached_input: TokenCost
    output: TokenCost
    total: TokenCost


def usd_per_million(
    usd_per_hour: float, tokens_per_s: float | None, loading: Loading, good_share: float
) -> float | None:
    """Dollars per million tokens that met their service level; None where none did."""
    if tokens_per_s is None or tokens_per_s <= 0 or good_share <= 0:
        return None
    served_share = loading.utilisation * loading.allocation * loading.availability * good_share
    return TOKENS_PER_MILLION * usd_per_hour / (SECONDS_PER_HOUR * tokens_per_s * served_share)


def usd_per_correct_answer(usd_per_hour: float, answers_per_s: float | None, loading: Loading) -> float | None:
    """The whole hour charged to correct answers, late ones too; None where there was none.

    The share of good tokens says nothing of which answers were good, so it has no part in this.
    """
    cost = usd_per_million(usd_per_hour, answers_per_s, loading, good_share=1.0)
    return None if cost is None else cost / TOKENS_PER_MILLION


def whole_costs(usd_per_hour: float, rates: Rates, loading: Loading, good_share: float) -> TokenCosts:
    """Each kind of token charged with the whole hour."""

    def charged(tokens_per_s: float | None, kind: str) -> TokenCost:
        cost = usd_per_million(usd_per_hour, tokens_per_s, loading, good_share)
        return TokenCost(cost, f"whole cost over {kind} tokens")

    return TokenCosts(
        uncached_input=charged(rates.uncached_input, "uncached input"),
        output=charged(rates.output, "output"),
        total=charged(rates.total, "total"),
    )


def relative_price_costs(
    usd_per_hour: float, rates: Rates, loading: Loading, good_share: float, price_ratio: float
) -> TokenCosts:
    """An input token costs `price_ratio` (rho) of an output token, whose cost is p / (rho tau_in + tau_out).

    The total-token figure stays the whole cost over total tokens. Raises InputError for a negative ratio.
    """
    if not (isfinite(price_ratio) and price_ratio >= 0):
        raise InputError(f"price of input over output = {price_ratio!r}", allowed="a number of at least 0")
    weighted = None
    if rates.uncached_input is not None and rates.output is not None:
        weighted = price_ratio * rates.uncached_input + rates.output
    output = usd_per_million(usd_per_hour, weighted, loading, good_share)
    rule = f"an uncached input token priced at {price_ratio:.4g} of an output token"
    return TokenCosts(
        uncached_input=TokenCost(None if output is None else price_ratio * output, rule),
        output=TokenCost(output, rule),
        total=whole_costs(usd_per_hour, rates, loading, good_share).total,
    )
