"""Contracts to cash and hours, and these to the price of an hour: worked figures, closed forms and properties."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.economics.describe import describe_offer
from bench.economics.price import closed_form_price, levelised_price, prepayment_multiplier, unit_price
from bench.offers.catalog import load_offers
from bench.offers.contract import CashFlow, Schedule, UnitHours, months_after, schedule
from bench.offers.offer import Contract, Delivery, Offer

# Multiplier of 20 % prepaid over 5 years at each rate; 25 % over 3 years at 10 %.
FIVE_YEARS = {0.06: 1.0311, 0.08: 1.0417, 0.10: 1.0524, 0.12: 1.0632, 0.15: 1.0796}

shares = st.decimals(min_value=0, max_value=1, places=3)
rates = st.floats(min_value=0, max_value=0.3)
starts = st.dates(min_value=date(2024, 1, 1), max_value=date(2032, 12, 31))
values = st.decimals(min_value=10_000, max_value=10_000_000_000, places=2)


def iren() -> Offer:
    return load_offers(["microsoft-iren-gb300"])[0]


def iren_contract() -> Contract:
    sold = iren().terms[0].sold
    assert isinstance(sold, Contract)
    return sold


@pytest.mark.parametrize(("rate", "multiplier"), FIVE_YEARS.items())
def test_the_prepayment_multiplier_of_twenty_percent_over_five_years(rate: float, multiplier: float) -> None:
    assert prepayment_multiplier(0.20, 60, rate) == pytest.approx(multiplier, abs=5e-5)


def test_the_prepayment_multiplier_of_a_quarter_over_three_years() -> None:
    assert prepayment_multiplier(0.25, 36, 0.10) == pytest.approx(1.0386, abs=5e-5)


def test_iren_costs_2_11_at_105000_accelerators_and_2_91_at_76000() -> None:
    price = unit_price(iren_contract(), 0.0)
    assert price.low == pytest.approx(2.11, abs=0.005)
    assert price.high == pytest.approx(2.91, abs=0.005)
    assert price.value is None
    assert price.basis == "assumed"


@pytest.mark.parametrize("rate", FIVE_YEARS)
def test_the_closed_form_and_equal_months_are_one(rate: float) -> None:
    contract = iren_contract()
    assert levelised_price(schedule(contract, 105_000), rate) == pytest.approx(
        closed_form_price(contract, 105_000, rate), rel=1e-9
    )


def test_the_description_of_iren_prints_range_and_multiplier() -> None:
    effective = describe_offer(iren())["effective"][0]
    assert effective["units"] == {"low": 76_000, "high": 105_000}
    assert round(effective["undiscounted_per_unit_hour"]["low"], 2) == 2.11
    assert round(effective["undiscounted_per_unit_hour"]["high"], 2) == 2.91
    at_ten = next(entry for entry in effective["discounted"] if entry["annual_rate"] == 0.10)
    assert round(at_ten["prepayment_multiplier"], 4) == 1.0524
    assert at_ten["per_unit_hour"]["low"] == pytest.approx(2.1092 * 1.0524, rel=1e-3)


def test_a_list_price_is_described_without_contract_entries() -> None:
    effective = describe_offer(load_offers(["oci-gb300"])[0])["effective"][0]
    assert effective["undiscounted_per_unit_hour"] == {"low": 18.0, "high": 18.0}
    assert "discounted" not in effective


def test_token_prices_and_unpriced_offers_are_described_without_hours() -> None:
    for name in ("nebius-deepseek-r1-0528", "coreweave-gb300"):
        assert describe_offer(load_offers([name])[0])["effective"] == []


@given(value=values, share=shares, years=st.integers(1, 10), rate=rates, start=starts)
def test_dated_and_closed_form_agree_to_a_thousandth_but_for_leap_days(
    value: Decimal, share: Decimal, years: int, rate: float, start: date
) -> None:
    contract = Contract(value=value, term_months=12 * years, prepayment_share=share, start=start, units=100)
    dated = levelised_price(schedule(contract, 100), rate)
    leap_days = (months_after(start, 12 * years) - start).days / (365 * years)
    assert dated * leap_days == pytest.approx(closed_form_price(contract, 100, rate), rel=1e-3)


@given(value=values, share=shares, months=st.integers(1, 120), start=st.none() | starts, units=st.integers(1, 200_000))
def test_every_contract_pays_its_value_exactly_and_serves_its_hours(
    value: Decimal, share: Decimal, months: int, start: date | None, units: int
) -> None:
    contract = Contract(value=value, term_months=months, prepayment_share=share, start=start, units=units)
    planned = schedule(contract, units)
    assert sum(flow.amount for flow in planned.cash) == value
    assert all(flow.amount > 0 for flow in planned.cash)
    days = Decimal(months) * 8760 / 12 / 24 if start is None else (months_after(start, months) - start).days
    assert sum(hour.hours for hour in planned.served) == pytest.approx(Decimal(units) * days * 24, rel=Decimal("1e-20"))


@given(value=values, share=shares, months=st.integers(1, 120), start=st.none() | starts)
def test_at_a_rate_of_zero_prepaying_is_free(value: Decimal, share: Decimal, months: int, start: date | None) -> None:
    prepaid = Contract(value=value, term_months=months, prepayment_share=share, start=start, units=8)
    level = prepaid.model_copy(update={"prepayment_share": Decimal(0)})
    assert unit_price(prepaid, 0.0).low == pytest.approx(unit_price(level, 0.0).low, rel=1e-9)


@given(share=shares, months=st.integers(1, 120), rate=rates)
def test_prepaying_never_makes_an_hour_cheaper(share: Decimal, months: int, rate: float) -> None:
    assert prepayment_multiplier(float(share), months, rate) >= 1.0 - 1e-12


def test_cash_split_into_parts_keeps_its_price() -> None:
    whole = Schedule(0, (CashFlow(12, Decimal(120)),), (UnitHours(12, Decimal(60)),))
    parts = Schedule(0, tuple(CashFlow(12, Decimal(10)) for _ in range(12)), (UnitHours(12, Decimal(60)),))
    assert levelised_price(whole, 0.1) == pytest.approx(levelised_price(parts, 0.1), rel=1e-12)


def test_a_ramp_serves_each_tranche_for_the_whole_term_and_makes_the_prepayment_dearer() -> None:
    at_once = Contract(
        value=Decimal(1_000_000), term_months=36, prepayment_share=Decimal("0.3"), start=date(2026, 1, 1), units=10
    )
    ramp = (
        Delivery(delivered=date(2026, 7, 1), share=Decimal("0.5")),
        Delivery(delivered=date(2027, 1, 1), share=Decimal("0.5")),
    )
    phased = at_once.model_copy(update={"ramp": ramp})
    served = schedule(phased, 10).served
    assert served[0].when == date(2026, 8, 1)
    assert served[-1].when == date(2030, 1, 1)
    assert fsum(float(hour.hours) for hour in served) == pytest.approx(5 * 24 * (1096 + 1096))
    assert unit_price(phased, 0.10).low > unit_price(at_once, 0.10).low
    assert unit_price(phased, 0.0).low == pytest.approx(unit_price(at_once, 0.0).low, rel=1e-3)


def test_the_month_after_the_last_day_of_january_ends_february() -> None:
    assert months_after(date(2027, 1, 31), 1) == date(2027, 2, 28)
    assert months_after(date(2027, 1, 31), 13) == date(2028, 2, 29)
    assert months_after(date(2026, 12, 15), 1) == date(2027, 1, 15)


@pytest.mark.parametrize("rate", [-0.01, float("nan"), float("inf")])
def test_a_discount_rate_below_zero_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match="discount rate"):
        unit_price(iren_contract(), rate)
