"""What a contract fixes: when cash is paid and when unit-hours are served.

Nothing here knows of load or of discounting; `bench.economics.price` values what this module lists.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise

from bench.core.units import HOURS_PER_YEAR
from bench.offers.offer import Contract

HOURS_PER_MONTH = Decimal(HOURS_PER_YEAR) / 12
_MICRO = Decimal("0.000001")

When = date | int
"""A calendar day, or a number of whole months after the start."""


@dataclass(frozen=True, slots=True)
class CashFlow:
    when: When
    amount: Decimal


@dataclass(frozen=True, slots=True)
class UnitHours:
    """Hours served up to `when`, over all units together."""

    when: When
    hours: Decimal


@dataclass(frozen=True, slots=True)
class Schedule:
    """Cash flows and unit-hours counted from `start`: a day when they are dated, 0 when they are in equal months."""

    start: When
    cash: tuple[CashFlow, ...]
    served: tuple[UnitHours, ...]


def schedule(contract: Contract, units: int) -> Schedule:
    """The schedule of `contract` if it buys `units`; dated when its start is known, in equal months otherwise.

    Equal months make years of 8,760 hours; dated months have the hours of the calendar, leap days included. A month's
    payment falls due at its end, in proportion to the hours it served, so a ramp pays for what was delivered. Payments
    are rounded to micro-units of the currency and add up to the contract's value exactly.
    """
    start: When = 0 if contract.start is None else contract.start
    served = (
        _equal_months(contract, units) if contract.start is None else _dated_months(contract, contract.start, units)
    )
    prepaid = (contract.value * contract.prepayment_share).quantize(_MICRO, ROUND_HALF_EVEN)
    upfront = (CashFlow(start, prepaid),) if prepaid else ()
    return Schedule(start, upfront + _arrears(contract.value - prepaid, served), served)


def _equal_months(contract: Contract, units: int) -> tuple[UnitHours, ...]:
    return tuple(UnitHours(month, units * HOURS_PER_MONTH) for month in range(1, contract.term_months + 1))


def _dated_months(contract: Contract, start: date, units: int) -> tuple[UnitHours, ...]:
    tranches = [(tranche.delivered, tranche.share) for tranche in contract.ramp] or [(start, Decimal(1))]
    hours: dict[date, Decimal] = {}
    for delivered, share in tranches:
        ends = [months_after(delivered, month) for month in range(contract.term_months + 1)]
        for begin, end in pairwise(ends):
            hours[end] = hours.get(end, Decimal(0)) + units * share * (end - begin).days * 24
    return tuple(UnitHours(day, hours[day]) for day in sorted(hours))


def _arrears(balance: Decimal, served: tuple[UnitHours, ...]) -> tuple[CashFlow, ...]:
    """`balance` paid in proportion to the hours served; each payment is the rise of a rounded running total."""
    total = sum(period.hours for period in served)
    flows, paid, done = [], Decimal(0), Decimal(0)
    for period in served:
        done += period.hours
        owed = balance if period is served[-1] else (balance * done / total).quantize(_MICRO, ROUND_HALF_EVEN)
        flows.append(CashFlow(period.when, owed - paid))
        paid = owed
    return tuple(flow for flow in flows if flow.amount)


def months_after(day: date, months: int) -> date:
    """The same day of a later month, or that month's last day where it is shorter."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
