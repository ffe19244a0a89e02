"""Prices and token costs with the bounds that the measurement and the offer leave open.

Cost rises with price and falls with tokens/s, so the cheapest price with the fastest rate and the dearest with the
slowest bound it. Where both are uncertain the bounds may be wider than an interval of that level, never narrower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from bench.core.records import Basis, Headline
from bench.core.units import TOKENS_PER_MILLION
from bench.economics.cost import Loading, Rates, TokenCost, TokenCosts, usd_per_correct_answer
from bench.economics.group import MeasuredGroup
from bench.economics.price import UnitPrice
from bench.offers.offer import Tokens

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
        return CostInterval(_between(low, value, high, price, tokens_per_s, "tokens/s"), of_kind(cheapest).rule)

    return CostIntervals(
        uncached_input=interval("uncached_input", group.uncached_input_tokens_per_s),
        output=interval("output", group.output_tokens_per_s),
        total=interval("total", group.total_tokens_per_s),
    )


def answer_cost(price: UnitPrice, answers_per_s: Headline, loading: Loading) -> Headline:
    """Dollars per correct answer on machines that cost `price` an hour together."""
    low = usd_per_correct_answer(price.low, _at(answers_per_s, "high"), loading)
    high = usd_per_correct_answer(price.high, _at(answers_per_s, "low"), loading)
    value = None if price.value is None else usd_per_correct_answer(price.value, answers_per_s.value, loading)
    return _between(low, value, high, price, answers_per_s, "correct answers/s")


def quoted_answer_cost(tokens: Tokens, group: MeasuredGroup) -> Headline | None:
    """Dollars per correct answer at quoted token prices, all input as uncached; None where no answer was checked.

    It has no interval: the tokens and the answers are of the same requests, so their uncertainties are not apart.
    """
    answers, output, total = group.correct_answers_per_s, group.output_tokens_per_s, group.total_tokens_per_s
    if answers is None or not answers.value or output.value is None or total.value is None:
        return None
    asked = float(tokens.output) * output.value + float(tokens.input) * (total.value - output.value)
    method = "quoted prices of the tokens that a correct answer took, all input as uncached"
    cost = asked / TOKENS_PER_MILLION / answers.value
    return Headline(cost, None, None, answers.level, method, answers.n, weakest("quoted", answers.basis))


def _between(
    low: float | None, value: float | None, high: float | None, price: UnitPrice, rate: Headline, per: str
) -> Headline:
    """A cost with its bounds, where there are two."""
    bounded = low is not None and high is not None and low < high
    measured = f"{per} by {rate.method}"
    return Headline(
        value=value,
        low=low if bounded else None,
        high=high if bounded else None,
        level=rate.level,
        method=f"monotone bounds of price ({price.method}) and {measured}" if bounded else measured,
        n=rate.n,
        basis=weakest(price.basis, rate.basis),
    )


def _rates(group: MeasuredGroup, end: str) -> Rates:
    """The group's rates at one end of their intervals."""
    return Rates(
        uncached_input=_at(group.uncached_input_tokens_per_s, end),
        output=_at(group.output_tokens_per_s, end),
        total=_at(group.total_tokens_per_s, end),
    )


def _at(rate: Headline, end: str) -> float | None:
    """A rate at one end of its interval; one without an interval is at both ends its value."""
    bound: float | None = getattr(rate, end)
    return rate.value if bound is None else bound
