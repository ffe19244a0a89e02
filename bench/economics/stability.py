"""What being down costs: the hours that are paid for and serve nothing, and what the offer's SLA gives back.

A divides the cost of a token once: the loading's own availability is put aside for the one that was seen. What is
credited comes off the price, p (1 - E[credit]) / A.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.core.records import Headline
from bench.economics.availability import ObservedAvailability
from bench.economics.interval import price_headline, weakest
from bench.economics.price import UnitPrice
from bench.economics.sla_credit import HOURS_PER_MONTH, expected_credit_share
from bench.offers.sla import Sla

_COUNTED = "every outage taken for one that the SLA covers"
_EACH_MONTH = "outages at random (Poisson) of exponential length, their mean as seen"
_NO_OUTAGE = "no outage was seen, so every month is taken to be as available as the mean"


@dataclass(frozen=True, slots=True)
class Stability:
    """One offer's hours at the availability that a soak of its hardware saw, by the month of 730 hours."""

    soaks: tuple[str, ...]
    availability: Headline
    promised: float | None
    """By the offer's SLA; None where none is known."""
    usd_per_million_output_tokens: Headline
    """At the observed availability, without credits."""
    usd_per_million_output_tokens_after_credit: Headline | None
    usd_lost_per_month: Headline
    """Paid for hours that were down."""
    expected_credit_usd_per_month: Headline | None
    """Assumed: were every outage that was seen one that the SLA covers, which a soak cannot tell."""
    why_no_credit: str | None
    """Why no credit can be expected, or reckoned."""


def stability(
    per_hour: UnitPrice,
    sla: Sla | None,
    observed: ObservedAvailability,
    cost_at: Callable[[float], Headline],
    claimed: float,
) -> Stability:
    """What `per_hour`, the price of everything billed, buys at the availability `observed`.

    `cost_at` gives dollars per million output tokens at an availability above 0; `claimed` is the share of the credits
    due that is claimed.
    """
    cost = _cost(observed, cost_at)
    share = _credit_share(sla, observed, claimed)
    return Stability(
        soaks=observed.soaks,
        availability=observed.headline,
        promised=None if sla is None else float(sla.promised),
        usd_per_million_output_tokens=cost,
        usd_per_million_output_tokens_after_credit=None if share is None else _after(cost, share, observed),
        usd_lost_per_month=_monthly(per_hour, _down_share(observed)),
        expected_credit_usd_per_month=None if share is None else _monthly(per_hour, share),
        why_no_credit=_why_no_credit(sla),
    )


def _cost(observed: ObservedAvailability, cost_at: Callable[[float], Headline]) -> Headline:
    best = cost_at(observed.high or observed.value)
    seen = cost_at(observed.value)
    worst = cost_at(observed.low) if observed.low else None
    high = None if worst is None else _end(worst, "high")
    method = f"{seen.method}; availability by {observed.method}"
    return replace(seen, low=None if high is None else _end(best, "low"), high=high, method=method)


def _down_share(observed: ObservedAvailability) -> Headline:
    up = observed.headline
    low, high = (None if end is None else 1 - end for end in (up.high, up.low))
    return replace(up, value=1 - observed.value, low=None if high is None else low, high=high)


def _credit_share(sla: Sla | None, observed: ObservedAvailability, claimed: float) -> Headline | None:
    """The share of a month's cost that is credited in the mean; None where it is not known what is."""
    if sla is None or not sla.tiers:
        return None

    def expected(availability: float) -> tuple[float, float]:
        least, most = expected_credit_share(sla, availability, observed.mean_outage_h)
        return claimed * least, claimed * most

    least, most = expected(observed.value)
    low, high = least, most
    if observed.low is not None and observed.high is not None:
        low, high = expected(observed.high)[0], expected(observed.low)[1]
    method = _NO_OUTAGE if observed.mean_outage_h is None else _EACH_MONTH
    bounded = low < high
    return Headline(
        value=least if least == most else None,
        low=low if bounded else None,
        high=high if bounded else None,
        level=observed.level,
        method=f"{_COUNTED}; {method}; availability by {observed.method}",
        n=observed.outages,
        basis="assumed",
    )


def _why_no_credit(sla: Sla | None) -> str | None:
    if sla is None:
        return "no SLA is known"
    return None if sla.tiers else "its SLA's credits are not known"


def _monthly(per_hour: UnitPrice, share: Headline) -> Headline:
    """Dollars a month that `share` of the bill is."""
    price = price_headline(per_hour)
    value = None if price.value is None or share.value is None else price.value * share.value * HOURS_PER_MONTH
    low = per_hour.low * _end(share, "low") * HOURS_PER_MONTH
    high = per_hour.high * _end(share, "high") * HOURS_PER_MONTH
    bounded = low < high
    return replace(
        share,
        value=value,
        low=low if bounded else None,
        high=high if bounded else None,
        basis=weakest(per_hour.basis, share.basis),
    )


def _after(cost: Headline, credit_share: Headline, observed: ObservedAvailability) -> Headline:
    """`cost` less what is credited. The ends may lie further apart than they must: much credit goes with much cost."""
    low = _end(cost, "low") * (1 - _end(credit_share, "high"))
    high = _end(cost, "high") * (1 - _end(credit_share, "low"))
    bounded = low < high and bool(observed.low)  # otherwise nothing bounds the cost from above
    return replace(
        cost,
        value=None if cost.value is None or credit_share.value is None else cost.value * (1 - credit_share.value),
        low=low if bounded else None,
        high=high if bounded else None,
        method=f"{cost.method}; {credit_share.method}",
        basis=weakest(cost.basis, credit_share.basis),
    )


def _end(headline: Headline, end: str) -> float:
    """One end of an interval, or the value of a headline without one."""
    bound: float | None = getattr(headline, end)
    at: float | None = headline.value if bound is None else bound
    return 0.0 if at is None else at
