"""Prices and token costs with the bounds that the measurement and the offer leave open.

Cost rises with price and falls with tokens/s, so the cheapest price with the fastest rate and the dearest with the
slowest bound it. Where both are uncertain the bounds may be wider than an interval of that level, never narrower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from bench.core.records import Basis, Headline
from bench.economics.cost import Rates, TokenCost, TokenCosts
from bench.economics.group import MeasuredGroup
from bench.economics.price import UnitPrice

_STRONGEST_FIRST: tuple[Basis, ...] = ("measured", "quoted", "published", "declared", "projected", "assumed")


@dataclass(frozen=True, slots=True)
class CostInterval:
    """A cost per million tokens and the rule by which the hour was charged."""

    usd_per_million: Headline
    rule: str


@dataclass(frozen=True, slots=True)
class CostIntervals:
    uncached_input: CostInterval
    output: CostInterval
    total: CostInterval


def price_headline(price: UnitPrice) -> Headline:
    """`price` in the form every number is reported in. A range has no value; its ends are bounds, not a confidence."""
    low, high = (None, None) if price.value is not None else (price.low, price.high)
    return Headline(price.value, low, high, 1.0, price.method, 1, price.basis)


def weakest(*bases: Basis) -> Basis:
    """The basis a figure computed from all of these may claim."""
    return max(bases, key=_STRONGEST_FIRST.index)


def cost_intervals(
    price: UnitPrice, group: MeasuredGroup, costs: Callable[[float, Rates], TokenCosts]
) -> CostIntervals:
    """Token costs of `group` on machines that cost `price` an hour together, by the allocation in `costs`."""
    slowest, fastest = _rates(group, "low"), _rates(group, "high")
    cheapest, dearest = costs(price.low, fastest), costs(price.high, slowest)
    middle = None if price.value is None else costs(price.value, _rates(group, "value"))

    def interval(kind: str, tokens_per_s: Headline) -> CostInterval:
        of_kind: Callable[[TokenCosts], TokenCost] = attrgetter(kind)
        low, high = of_kind(cheapest).usd_per_million, of_kind(dearest).usd_per_million
        value = None if middle is None else of_kind(middle).usd_per_million
        bounded = low is not None and high is not None and low < high
        rate = f"tokens/s by {tokens_per_s.method}"
        return CostInterval(
            Headline(
                value=value,
                low=low if bounded else None,
                high=high if bounded else None,
                level=tokens_per_s.level,
                method=f"monotone bounds of price ({price.method}) and {rate}" if bounded else rate,
                n=tokens_per_s.n,
                basis=weakest(price.basis, tokens_per_s.basis),
            ),
            of_kind(cheapest).rule,
        )

    return CostIntervals(
        uncached_input=interval("uncached_input", group.uncached_input_tokens_per_s),
        output=interval("output", group.output_tokens_per_s),
        total=interval("total", group.total_tokens_per_s),
    )


def _rates(group: MeasuredGroup, end: str) -> Rates:
    """The group's rates at one end of their intervals; a rate without an interval is at both ends its value."""

    def at(headline: Headline) -> float | None:
        bound: float | None = getattr(headline, end)
        return headline.value if bound is None else bound

    return Rates(
        uncached_input=at(group.uncached_input_tokens_per_s),
        output=at(group.output_tokens_per_s),
        total=at(group.total_tokens_per_s),
    )
