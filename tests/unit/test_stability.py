"""What being down costs: availability enters once, and an SLA credits what its tiers say of the months to come."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.core.errors import InputError
from bench.core.records import Headline
from bench.economics.availability import ObservedAvailability
from bench.economics.compare import Assumptions, ComparisonRow, compare
from bench.economics.cost import Loading
from bench.economics.group import MeasuredGroup
from bench.economics.sla_credit import HOURS_PER_MONTH, expected_credit_share
from bench.economics.stability import Stability
from bench.offers.catalog import load_offers
from bench.offers.offer import Offer
from bench.offers.sla import Sla

SOURCE = {"text": "a contract", "read": date(2026, 11, 1)}
TIERS = ({"below": "0.995", "credit_share": "0.10"}, {"below": "0.95", "credit_share": "0.25"})


def sla(*tiers: dict[str, str], **changes: Any) -> Sla:
    promise = {"promised": "0.995", "tiers": tiers, "source": SOURCE, "confidence": "high"}
    return Sla.model_validate(promise | changes)


def seen(value: float = 0.99, low: float | None = 0.98, high: float | None = 0.998, **changes: Any) -> Any:
    observed = ObservedAvailability(("runs/soak",), value, low, high, 0.95, "F", 99 * 3600.0, 3600.0, 1)
    return replace(observed, **changes)


def row(
    observed: ObservedAvailability | None,
    promise: Sla | None,
    assumptions: Assumptions = Assumptions(),
    plan: str = "on_demand",
) -> ComparisonRow:
    """Of a node at two dollars an hour that makes 100 tokens a second."""
    rate = Headline(100.0, 95.0, 105.0, 0.95, "t", 5, "measured")
    group = MeasuredGroup(
        label="g",
        case="smoke",
        model="tiny",
        key={},
        hardware="cpu-x86_64-2c",
        hardware_unit="node",
        used=1,
        uncached_input_tokens_per_s=rate,
        output_tokens_per_s=rate,
        total_tokens_per_s=rate,
        joules_per_output_token=None,
        verdict="valid",
        accuracy="passed",
        availability=observed,
    )
    offer = Offer.model_validate(
        {
            "id": "a",
            "provider": "A",
            "kind": "iaas",
            "hardware": "cpu-x86_64-2c",
            "unit": "node",
            "quoted": date(2026, 11, 1),
            "currency": "USD",
            "source": SOURCE,
            "confidence": "high",
            "sla": promise,
            "terms": ({"price": {"plan": plan, "per_unit_hour": "2"}},),
        }
    )
    (found,) = compare([group], [offer], assumptions).rows
    return found


def stable(observed: ObservedAvailability, promise: Sla | None, assumptions: Assumptions = Assumptions()) -> Stability:
    found = row(observed, promise, assumptions).stability
    assert found is not None
    return found


def bounds(headline: Headline | None) -> tuple[float | None, float | None, float | None]:
    assert headline is not None
    return headline.low, headline.value, headline.high


def test_a_month_by_hand() -> None:
    """730 h at 2 dollars are 1460 a month; every month is as the mean, so 99 % reaches the first tier."""
    found = stable(seen(outages=0), sla(*TIERS))
    whole = 2e6 / 3600
    assert bounds(found.usd_lost_per_month) == tuple(pytest.approx(1460 * down) for down in (0.002, 0.01, 0.02))
    assert bounds(found.expected_credit_usd_per_month) == (0.0, pytest.approx(146), pytest.approx(146))
    assert bounds(found.usd_per_million_output_tokens) == (
        pytest.approx(whole / 105 / 0.998),
        pytest.approx(whole / 100 / 0.99),
        pytest.approx(whole / 95 / 0.98),
    )
    after = found.usd_per_million_output_tokens_after_credit
    assert after is not None
    assert after.value == pytest.approx(whole / 100 / 0.99 * 0.9)
    assert (after.low, after.high) == (
        pytest.approx(whole / 105 / 0.998 * 0.9),
        pytest.approx(whole / 95 / 0.98),
    )
    assert (found.promised, found.why_no_credit, after.basis) == (0.995, None, "assumed")


def test_months_differ_where_outages_were_seen() -> None:
    """Of outages of an hour, 99.5 % leaves 3.65 in a month: both Poisson counts summed one by one."""
    down_h, mean_h = 0.005 * HOURS_PER_MONTH, 1.0
    outages, fitting = 0.002 * HOURS_PER_MONTH / mean_h, down_h / mean_h

    def poisson(n: int, mean: float) -> float:
        return math.exp(-mean) * mean**n / math.factorial(n)

    chance = sum(poisson(n, outages) * sum(poisson(k, fitting) for k in range(n)) for n in range(40))
    least, most = expected_credit_share(sla(TIERS[0]), 0.998, mean_h)
    assert least == most == pytest.approx(0.10 * chance)
    assert chance == pytest.approx(0.1086, abs=1e-4)


def test_tiers_share_the_months_among_them() -> None:
    both = expected_credit_share(sla(*TIERS), 0.96, 2.0)[0]
    upper, lower = (expected_credit_share(sla(tier), 0.96, 2.0)[0] for tier in TIERS)
    assert both == pytest.approx(upper + lower * (0.25 - 0.10) / 0.25)


@given(st.floats(0.5, 1.0), st.floats(0.001, 100.0), st.floats(0.0, 0.5))
def test_less_availability_never_lowers_a_credit_which_never_leaves_its_tiers(
    availability: float, mean_h: float, less: float
) -> None:
    share, _ = expected_credit_share(sla(*TIERS), availability, mean_h)
    at_worse, _ = expected_credit_share(sla(*TIERS), availability - less * availability, mean_h)
    assert -1e-12 <= share <= at_worse + 1e-9 <= 0.25 + 2e-9


@given(st.floats(0.01, 1.0), st.floats(0.1, 1.0), st.floats(0.1, 1.0))
def test_availability_divides_the_cost_of_a_token_once(
    availability: float, utilisation: float, allocation: float
) -> None:
    loading = Loading(utilisation=utilisation, allocation=allocation)
    plain = row(None, None, Assumptions(loading=loading)).usd_per_million_output_tokens
    observed = seen(availability, None, None)
    found = stable(observed, None, Assumptions(loading=loading)).usd_per_million_output_tokens
    assert plain is not None
    assert plain.value is not None
    assert found.value == pytest.approx(plain.value / availability)
    assumed = replace(loading, availability=availability)
    same = row(None, None, Assumptions(loading=assumed)).usd_per_million_output_tokens
    assert same is not None
    assert found.value == pytest.approx(same.value)
    ignored = stable(observed, None, Assumptions(loading=replace(loading, availability=0.5)))
    assert ignored.usd_per_million_output_tokens.value == pytest.approx(found.value)


def test_without_an_sla_or_its_tiers_there_is_no_credit_and_why_is_told() -> None:
    none, bare = stable(seen(), None), stable(seen(), sla())
    assert (none.expected_credit_usd_per_month, none.usd_per_million_output_tokens_after_credit) == (None, None)
    assert (none.promised, none.why_no_credit) == (None, "no SLA is known")
    assert (bare.promised, bare.why_no_credit) == (0.995, "its SLA's credits are not known")
    assert row(None, sla(*TIERS)).stability is None


def test_a_credit_given_as_a_range_has_bounds_and_no_value() -> None:
    found = stable(seen(low=0.99, high=0.99, outages=0), sla(TIERS[0] | {"credit_share_up_to": "0.30"}))
    assert bounds(found.expected_credit_usd_per_month) == tuple(
        None if share is None else pytest.approx(1460 * share) for share in (0.10, None, 0.30)
    )
    after = found.usd_per_million_output_tokens_after_credit
    assert after is not None
    whole = 2e6 / 3600 / 0.99
    assert bounds(after) == (pytest.approx(whole / 105 * 0.7), None, pytest.approx(whole / 95 * 0.9))


def test_a_credit_is_capped_and_only_what_is_claimed_comes() -> None:
    observed = seen(0.9, None, None, outages=0)
    capped = stable(observed, sla(*TIERS, cap_share="0.2")).expected_credit_usd_per_month
    claimed = stable(observed, sla(*TIERS), Assumptions(claimed=0.5)).expected_credit_usd_per_month
    assert capped is not None
    assert claimed is not None
    assert (capped.value, claimed.value) == (pytest.approx(1460 * 0.2), pytest.approx(1460 * 0.125))
    with pytest.raises(InputError, match=r"claimed = 1\.5"):
        Assumptions(claimed=1.5)


def test_a_soak_that_bounds_nothing_from_below_bounds_no_cost_from_above() -> None:
    found = stable(seen(low=0.0), sla(*TIERS))
    whole, after = found.usd_per_million_output_tokens, found.usd_per_million_output_tokens_after_credit
    assert bounds(whole) == (None, pytest.approx(2e6 / 3600 / 100 / 0.99), None)
    assert after is not None
    assert (after.low, after.high) == (None, None)
    assert bounds(found.usd_lost_per_month) == (pytest.approx(2.92), pytest.approx(14.6), pytest.approx(1460))


def test_a_spot_price_is_promised_nothing() -> None:
    spot = row(seen(), sla(*TIERS), plan="spot").stability
    assert spot is not None
    assert (spot.promised, spot.why_no_credit) == (None, "no SLA is known")
    assert spot.usd_lost_per_month == stable(seen(), None).usd_lost_per_month


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tiers": ({"below": "0.999", "credit_share": "0.1"},)}, "tiers below what is promised"),
        ({"tiers": (TIERS[0], TIERS[1] | {"credit_share": "0.05"})}, "give more further down"),
        ({"tiers": (TIERS[0], TIERS[0])}, "tiers that differ"),
        ({"tiers": (TIERS[0] | {"credit_share_up_to": "0.05"},)}, "a share above credit_share"),
        ({"claim_days": 10}, "only with claim_needed: true"),
        ({"promised": "99.5"}, "less than or equal to 1"),
    ],
)
def test_a_promise_that_contradicts_itself_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        sla(**changes)


def test_shipped_promises_have_a_dated_source() -> None:
    promises = [offer.sla for offer in load_offers() if offer.sla is not None]
    assert promises
    assert all(promise.source.published is not None and promise.confidence == "low" for promise in promises)
