"""Measured groups joined to dated offers, with a reason wherever the two do not meet.

A group is priced only on the hardware it was measured on: nothing is scaled from one machine to another. Token prices
meet a group only on the same model. Groups rank only beside the first valid one, and only with its comparability key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from math import inf, isfinite

from bench.core.errors import InputError
from bench.core.records import Basis, Headline
from bench.economics.billing import bill, sells_piece
from bench.economics.cost import Loading, Rates, TokenCosts, relative_price_costs, whole_costs
from bench.economics.decision import Candidate, Decision, centre, decide
from bench.economics.group import MeasuredGroup
from bench.economics.interval import answer_cost, cost_intervals, price_headline, quoted_answer_cost, weakest
from bench.economics.price import UnitPrice, unit_price
from bench.economics.stability import Stability, stability
from bench.offers.offer import Contract, Offer, Price, Term, Tokens
from bench.offers.sla import Sla

_TOKEN_RULE = "quoted per token; input and output are billed apart"


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the comparison takes as given; printed with it."""

    loading: Loading = field(default_factory=Loading)
    discount_rate: float = 0.10
    """A year, for contracts with a prepayment or a ramp."""
    price_ratio: float | None = None
    """Price of an input over an output token: the two then share the hour. Null charges the whole hour to each."""
    claimed: float = 1.0
    """Share of the SLA credits due that is claimed."""

    def __post_init__(self) -> None:
        if not 0 <= self.claimed <= 1:
            raise InputError(f"claimed = {self.claimed!r}", allowed="a share of at least 0 and at most 1")

    def at_availability(self, availability: float) -> Assumptions:
        """These, with `availability` for their own."""
        return replace(self, loading=replace(self.loading, availability=availability))

    def costs(self, good_share: float, usd_per_hour: float, rates: Rates) -> TokenCosts:
        if self.price_ratio is None:
            return whole_costs(usd_per_hour, rates, self.loading, good_share)
        return relative_price_costs(usd_per_hour, rates, self.loading, good_share, self.price_ratio)


@dataclass(frozen=True, slots=True)
class MedianCosts:
    """What a row would cost on the median node of its SKU."""

    basis: Basis
    output_tokens_per_s: Headline
    usd_per_million_output_tokens: Headline
    usd_per_million_total_tokens: Headline
    usd_per_million_input_tokens: Headline


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """A group under one term of an offer. Dollars stand where they can be computed; `comparable` says if they rank."""

    offer: str
    provider: str
    hardware: str | None
    unit: str
    term: str | None
    comparable: bool
    why_not: str | None
    group: str | None = None
    case: str | None = None
    basis: Basis | None = None
    """The weakest basis that entered the dollars."""
    used: int | None = None
    billed: int | None = None
    usd_per_unit_hour: Headline | None = None
    usd_per_hour: Headline | None = None
    """Of everything billed."""
    usd_per_million_output_tokens: Headline | None = None
    usd_per_million_total_tokens: Headline | None = None
    usd_per_million_input_tokens: Headline | None = None
    usd_per_correct_answer: Headline | None = None
    """The whole hour, or all tokens, charged to correct answers; None where no answer was checked."""
    joules_per_output_token: Headline | None = None
    rules: Mapping[str, str] = field(default_factory=dict)
    """How the hour was charged to `output`, `total` and `input` tokens."""
    stability: Stability | None = None
    """What being down costs, by soaks of the group's node class; None where there was none."""
    at_median: MedianCosts | None = None
    """Beside what was measured, which alone ranks; None where it was not asked for or is not known."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows, comparable and cheapest first, hours before tokens; `dataclasses.asdict` is its JSON document."""

    rows: tuple[ComparisonRow, ...]
    decision: Decision
    assumptions: Assumptions


def compare(
    groups: Sequence[MeasuredGroup], offers: Iterable[Offer], assumptions: Assumptions = Assumptions()
) -> Comparison:
    """Price every group on every offer of its hardware or its model, and say which is cheapest.

    An offer that meets no group has one row a term, with `why_not` and without a group. Raises InputError for a
    discount rate or a price ratio out of range.
    """
    reference = next((group for group in groups if group.invalid is None), None)
    rows = [
        row
        for offer in offers
        for term in (offer.terms or (None,))
        for row in _term_rows(offer, term, groups, reference, assumptions)
    ]
    rows.sort(key=_order)
    candidates = [candidate for row in rows if (candidate := _candidate(row)) is not None]
    speed_only = reference is not None and reference.accuracy == "not_applicable"
    return Comparison(tuple(rows), decide(candidates, speed_only=speed_only), assumptions)


def _term_rows(
    offer: Offer,
    term: Term | None,
    groups: Sequence[MeasuredGroup],
    reference: MeasuredGroup | None,
    assumptions: Assumptions,
) -> list[ComparisonRow]:
    blank = ComparisonRow(
        offer=offer.id,
        provider=offer.provider,
        hardware=offer.hardware,
        unit=offer.unit or "token",
        term=None if term is None else term.label,
        comparable=False,
        why_not="unpriced",
    )
    if term is None:
        return [blank]
    if offer.currency != "USD":
        return [replace(blank, why_not="currency")]
    if isinstance(term.sold, Tokens):
        met = [group for group in groups if group.model.lower() == term.sold.model.lower()]
        quoted = _quoted(blank, term.sold)
        rows = [
            replace(_beside(quoted, group, reference), usd_per_correct_answer=quoted_answer_cost(term.sold, group))
            for group in met
        ]
        return rows or [replace(quoted, why_not="model")]
    price = unit_price(term.sold, assumptions.discount_rate)
    priced = replace(blank, usd_per_unit_hour=price_headline(price), basis=price.basis)
    met = [group for group in groups if group.hardware == offer.hardware]
    rows = [_hours(_beside(priced, group, reference), offer, term.sold, price, group, assumptions) for group in met]
    return rows or [replace(priced, why_not="hardware")]


def _beside(row: ComparisonRow, group: MeasuredGroup, reference: MeasuredGroup | None) -> ComparisonRow:
    why_not = group.why_not(reference or group)
    return replace(row, group=group.label, case=group.case, comparable=why_not is None, why_not=why_not)


def _quoted(row: ComparisonRow, tokens: Tokens) -> ComparisonRow:
    def quoted(amount: Decimal) -> Headline:
        return Headline(float(amount), None, None, 1.0, "list price", 1, "quoted")

    return replace(
        row,
        basis="quoted",
        usd_per_million_output_tokens=quoted(tokens.output),
        usd_per_million_input_tokens=quoted(tokens.input),
        rules={"output": _TOKEN_RULE, "input": _TOKEN_RULE},
    )


def _hours(
    row: ComparisonRow,
    offer: Offer,
    asked: Price | Contract,
    price: UnitPrice,
    group: MeasuredGroup,
    assumptions: Assumptions,
) -> ComparisonRow:
    if not sells_piece(offer, group.hardware_unit):
        return replace(row, comparable=False, why_not="unit")
    billed = bill(offer, asked, price, group.used)
    costs = cost_intervals(billed.per_hour, group, partial(assumptions.costs, group.good_share))
    why_not = row.why_not or (None if isfinite(centre(costs.output.usd_per_million)) else "no good tokens")
    return replace(
        row,
        comparable=why_not is None,
        why_not=why_not,
        basis=weakest(price.basis, group.output_tokens_per_s.basis),
        used=billed.used,
        billed=billed.billed,
        usd_per_hour=price_headline(billed.per_hour),
        usd_per_million_output_tokens=costs.output.usd_per_million,
        usd_per_million_total_tokens=costs.total.usd_per_million,
        usd_per_million_input_tokens=costs.uncached_input.usd_per_million,
        usd_per_correct_answer=(
            None
            if group.correct_answers_per_s is None
            else answer_cost(billed.per_hour, group.correct_answers_per_s, assumptions.loading)
        ),
        joules_per_output_token=group.joules_per_output_token,
        rules={"output": costs.output.rule, "total": costs.total.rule, "input": costs.uncached_input.rule},
        stability=_stability(billed.per_hour, _promise(offer, asked), group, assumptions),
        at_median=_at_median(billed.per_hour, group, assumptions),
    )


def _at_median(per_hour: UnitPrice, group: MeasuredGroup, assumptions: Assumptions) -> MedianCosts | None:
    if (rates := group.at_median) is None:
        return None
    at_median = replace(
        group,
        uncached_input_tokens_per_s=rates.uncached_input_tokens_per_s,
        output_tokens_per_s=rates.output_tokens_per_s,
        total_tokens_per_s=rates.total_tokens_per_s,
    )
    costs = cost_intervals(per_hour, at_median, partial(assumptions.costs, group.good_share))
    return MedianCosts(
        basis=weakest(per_hour.basis, rates.output_tokens_per_s.basis),
        output_tokens_per_s=rates.output_tokens_per_s,
        usd_per_million_output_tokens=costs.output.usd_per_million,
        usd_per_million_total_tokens=costs.total.usd_per_million,
        usd_per_million_input_tokens=costs.uncached_input.usd_per_million,
    )


def _promise(offer: Offer, asked: Price | Contract) -> Sla | None:
    """Spot capacity is sold to be taken back: what is promised of the other terms is not known to cover it."""
    return None if isinstance(asked, Price) and asked.plan == "spot" else offer.sla


def _stability(
    per_hour: UnitPrice, sla: Sla | None, group: MeasuredGroup, assumptions: Assumptions
) -> Stability | None:
    if group.availability is None:
        return None

    def cost_at(availability: float) -> Headline:
        costs = partial(assumptions.at_availability(availability).costs, group.good_share)
        return cost_intervals(per_hour, group, costs).output.usd_per_million

    return stability(per_hour, sla, group.availability, cost_at, assumptions.claimed)


def _candidate(row: ComparisonRow) -> Candidate | None:
    """What ranks: comparable hours. A token price charges input apart, so it stands beside the ranking, not in it."""
    cost = row.usd_per_million_output_tokens
    if not row.comparable or row.group is None or row.term is None or row.usd_per_hour is None or cost is None:
        return None
    return Candidate(row.group, row.offer, row.term, row.usd_per_hour, cost)


def _order(row: ComparisonRow) -> tuple[bool, bool, float, str, str]:
    cost = row.usd_per_million_output_tokens
    by_token = row.usd_per_hour is None
    return (not row.comparable, by_token, inf if cost is None else centre(cost), row.why_not or "", row.offer)
