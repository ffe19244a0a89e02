"""The price of a unit-hour, from what is contracted. Nothing here knows of load.

p = sum(cash_t d_t) / sum(unit_hours_t d_t): both are discounted, so that an hour served later is worth less, as a
payment made later costs less (the levelised cost of energy, applied to compute). Dated schedules count years as
act/365, schedules in equal months as twelfths; present values are float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from math import exp, expm1, fsum, isfinite, log1p

from bench.core.errors import InputError
from bench.core.records import Basis
from bench.core.units import HOURS_PER_YEAR
from bench.offers.contract import Schedule, When, schedule
from bench.offers.offer import Contract, Price


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """Price of one unit for one hour; `low` < `high` when the offer leaves something unknown."""

    low: float
    high: float
    method: str
    basis: Basis

    @property
    def value(self) -> float | None:
        """The price, where there is just one."""
        return self.low if self.low == self.high else None


def unit_price(asked: Price | Contract, annual_rate: float) -> UnitPrice:
    """The effective price of an hour.

    A contract whose unit count is unknown has one price at each end of the declared range, and its basis is `assumed`.
    Raises InputError for a discount rate below zero.
    """
    if not (isfinite(annual_rate) and annual_rate >= 0):
        raise InputError(f"discount rate = {annual_rate!r}", allowed="a number of at least 0; 0.10 is 10 % a year")
    if isinstance(asked, Price):
        listed = float(asked.per_unit_hour)
        return UnitPrice(listed, listed, "list price", "quoted")
    fewest, most = asked.unit_counts
    low, high = (levelised_price(schedule(asked, units), annual_rate) for units in (most, fewest))
    method = f"discounted cash over discounted unit-hours at {annual_rate:.4g} a year"
    if fewest == most:
        return UnitPrice(low, high, method, "quoted")
    return UnitPrice(low, high, f"{method}, {fewest} to {most} units", "assumed")


def levelised_price(contracted: Schedule, annual_rate: float) -> float:
    """Discounted cash over discounted unit-hours, in the schedule's currency an hour."""
    cash = fsum(float(flow.amount) * _discount(flow.when, contracted.start, annual_rate) for flow in contracted.cash)
    hours = fsum(float(hour.hours) * _discount(hour.when, contracted.start, annual_rate) for hour in contracted.served)
    return cash / hours


def prepayment_multiplier(prepayment_share: float, term_months: int, annual_rate: float) -> float:
    """What prepaying multiplies the price by: k = (1 - share) + share M / a, with a = (1 - (1 + r_m)^-M) / r_m."""
    monthly = log1p(annual_rate) / 12
    if monthly == 0:
        return 1.0
    annuity = -expm1(-monthly * term_months) / expm1(monthly)
    return (1 - prepayment_share) + prepayment_share * term_months / annuity


def closed_form_price(contract: Contract, units: int, annual_rate: float) -> float:
    """k V / (N H T): the levelised price of equal months of 8,760 hours a year, all units delivered at the start."""
    k = prepayment_multiplier(float(contract.prepayment_share), contract.term_months, annual_rate)
    return k * float(contract.value) / (units * HOURS_PER_YEAR * contract.term_months / 12)


def _discount(when: When, start: When, annual_rate: float) -> float:
    if isinstance(when, date) and isinstance(start, date):
        years = (when - start).days / 365
    elif isinstance(when, int) and isinstance(start, int):
        years = (when - start) / 12
    else:
        raise TypeError("a schedule is dated throughout, or in months throughout")
    return exp(-years * log1p(annual_rate))
