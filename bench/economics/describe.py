"""One offer as a document: what it asks, and what its hours cost after prepayment, discounting and what is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.economics.price import prepayment_multiplier, unit_price
from bench.offers.offer import Contract, Offer, Price, Tokens

DISCOUNT_RATES = (0.06, 0.08, 0.10, 0.12, 0.15)


def describe_offer(offer: Offer, discount_rates: Sequence[float] = DISCOUNT_RATES) -> dict[str, Any]:
    """JSON-ready: the offer as written, and under `effective` one entry a term that sells hours.

    Prices are `low` and `high` in the offer's currency a unit-hour, equal when nothing is unknown. A contract adds its
    unit counts and, for each discount rate, the price and the closed-form multiplier its prepayment stands for.
    """
    effective = [
        _effective(term.label, asked, discount_rates)
        for term in offer.terms
        if not isinstance(asked := term.sold, Tokens)
    ]
    return {**offer.model_dump(mode="json"), "effective": effective}


def _effective(label: str, asked: Price | Contract, discount_rates: Sequence[float]) -> dict[str, Any]:
    undiscounted = unit_price(asked, 0.0)
    document: dict[str, Any] = {
        "term": label,
        "basis": undiscounted.basis,
        "undiscounted_per_unit_hour": {"low": undiscounted.low, "high": undiscounted.high},
    }
    if isinstance(asked, Contract):
        fewest, most = asked.unit_counts
        document["units"] = {"low": fewest, "high": most}
        document["discounted"] = [_discounted(asked, rate) for rate in discount_rates]
    return document


def _discounted(contract: Contract, annual_rate: float) -> dict[str, Any]:
    price = unit_price(contract, annual_rate)
    share = float(contract.prepayment_share)
    return {
        "annual_rate": annual_rate,
        "prepayment_multiplier": prepayment_multiplier(share, contract.term_months, annual_rate),
        "per_unit_hour": {"low": price.low, "high": price.high},
    }
