"""One offer as a user writes it: a provider's dated ask for accelerators, for a node, or for tokens.

Every amount is a Decimal in the offer's currency, every date a date, and every figure stands beside its source. What
was not given stays null: an offer without terms is legal, and is listed as unpriced.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from bench.core.section import Section
from bench.offers.fields import Amount, Confidence, Count, Day, Months, Share, Source, Text, TokenPrice
from bench.offers.sla import Sla

Kind = Literal["iaas", "paas", "colocation", "owned"]
Unit = Literal["accelerator", "node"]
Plan = Literal["on_demand", "reserved", "spot"]


class Price(Section):
    """A price per unit-hour."""

    plan: Plan
    per_unit_hour: Amount
    minimum_block: Count = 1
    """Units are billed in whole multiples of this."""
    commitment_months: Months | None = None

    @field_validator("commitment_months")
    @classmethod
    def _only_reservations_commit(cls, months: int | None, info: ValidationInfo) -> int | None:
        if months is not None and info.data.get("plan") != "reserved":
            raise ValueError("null, unless plan is reserved")
        return months


class UnitCount(Section):
    """One end of a range of unit counts: a count, or a site's power over the power of one unit."""

    units: Count | None = None
    site_kw: Amount | None = None
    kw_per_unit: Amount | None = None
    reason: Text

    @model_validator(mode="after")
    def _one_way_to_count(self) -> UnitCount:
        by_power = (self.site_kw is not None, self.kw_per_unit is not None)
        if by_power != ((False, False) if self.units is not None else (True, True)):
            raise ValueError("either units, or site_kw and kw_per_unit")
        return self

    @property
    def count(self) -> int:
        if self.site_kw is not None and self.kw_per_unit is not None:
            return int(self.site_kw / self.kw_per_unit)
        return self.units or 0


class UnitRange(Section):
    """What is known of a unit count that was never published."""

    low: UnitCount
    high: UnitCount

    @model_validator(mode="after")
    def _in_order(self) -> UnitRange:
        if not 0 < self.low.count <= self.high.count:
            raise ValueError("low at most high, both at least one unit")
        return self


class Delivery(Section):
    """A tranche of the contracted units; it serves the whole term from the day it is delivered."""

    delivered: Day
    share: Share


class Contract(Section):
    """A value for units over a term; what is not prepaid is paid monthly, in arrears, for the hours served."""

    value: Amount
    term_months: Months
    prepayment_share: Annotated[Decimal, Field(ge=0, le=1)] = Decimal(0)
    start: Day | None = None
    """Day of the prepayment and, without a ramp, of delivery. Null when it is not known: then equal months are used."""
    units: Count | None = None
    units_between: UnitRange | None = None
    ramp: tuple[Delivery, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Contract:
        if (self.units is None) == (self.units_between is None):
            raise ValueError("exactly one of units, units_between")
        if self.ramp:
            if self.start is None or min(tranche.delivered for tranche in self.ramp) < self.start:
                raise ValueError("a ramp only with a start, and no delivery before it")
            if sum(tranche.share for tranche in self.ramp) != 1:
                raise ValueError("shares of a ramp that add up to 1")
        return self

    @property
    def unit_counts(self) -> tuple[int, int]:
        """Fewest and most units the value may buy; equal when the count is known."""
        if self.units_between is not None:
            return self.units_between.low.count, self.units_between.high.count
        known = self.units or 0
        return known, known


class Tokens(Section):
    """Prices per million tokens of one model at one tier of speed."""

    model: Text
    tier: Text = "base"
    input: TokenPrice
    cached_input: TokenPrice | None = None
    output: TokenPrice


class Term(Section):
    """One way to buy: exactly one of a price, a contract or token prices."""

    price: Price | None = None
    contract: Contract | None = None
    tokens: Tokens | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Term:
        if sum(part is not None for part in (self.price, self.contract, self.tokens)) != 1:
            raise ValueError("exactly one of price, contract, tokens")
        return self

    @property
    def sold(self) -> Price | Contract | Tokens:
        (sold,) = (part for part in (self.price, self.contract, self.tokens) if part is not None)
        return sold

    @property
    def label(self) -> str:
        """The term in a few words, for a table."""
        match self.sold:
            case Price(plan=plan, minimum_block=block, commitment_months=months):
                commitment = "" if months is None else f", {months} months"
                return plan + commitment + (f", blocks of {block}" if block > 1 else "")
            case Contract(term_months=months, prepayment_share=share):
                return f"contract, {months} months, {share:.0%} prepaid"
            case Tokens(model=model, tier=tier):
                return f"tokens, {model}, {tier}"


class Offer(Section):
    """One provider's ask. Tokens are sold by `paas` offers, hours by every other kind."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    """The file's name without its suffix."""
    provider: Text
    kind: Kind
    hardware: Annotated[str | None, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", validate_default=True)] = None
    """Key of the datasheet, such as h100_sxm; a CPU node is cpu-x86_64-2c, architecture and vCPUs of the whole node."""
    unit: Annotated[Unit | None, Field(validate_default=True)] = None
    """What an hour is bought of."""
    count: Count = 1
    """Pieces of `hardware` in one unit: 8 for a node of eight accelerators sold whole."""
    scale_up_domain: Count | None = None
    """Accelerators that share one scale-up fabric."""
    region: Text | None = None
    residency: Text | None = None
    available: Day | None = None
    quoted: Day
    """Day the ask was made: the source's date, or the day it was read where the source has none."""
    valid_until: Day | None = None
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    source: Source
    confidence: Confidence
    notes: str = ""
    sla: Sla | None = None
    """Null where no promise is known, which is not to say that there is none."""
    terms: tuple[Term, ...] = ()

    @field_validator("hardware", "unit")
    @classmethod
    def _hours_need_hardware(cls, value: Any, info: ValidationInfo) -> Any:
        if (value is None) != (info.data.get("kind") == "paas"):
            raise ValueError("a value for hours of hardware, null for paas")
        return value

    @field_validator("count")
    @classmethod
    def _an_accelerator_is_one(cls, count: int, info: ValidationInfo) -> int:
        if count != 1 and info.data.get("unit") != "node":
            raise ValueError("1, unless unit is node")
        return count

    @field_validator("valid_until")
    @classmethod
    def _not_over_before_it_began(cls, day: date | None, info: ValidationInfo) -> date | None:
        quoted = info.data.get("quoted")
        if day is not None and quoted is not None and day < quoted:
            raise ValueError("a day not before quoted")
        return day

    @field_validator("terms")
    @classmethod
    def _tokens_are_sold_by_platforms(cls, terms: tuple[Term, ...], info: ValidationInfo) -> tuple[Term, ...]:
        if any((term.tokens is not None) != (info.data.get("kind") == "paas") for term in terms):
            raise ValueError("tokens for paas, price or contract for every other kind")
        return terms


def offer_json_schema() -> dict[str, Any]:
    """JSON Schema of an offer file, for editors."""
    return Offer.model_json_schema()
