"""What a provider promises of its availability, and what it credits when it does not keep that."""

from __future__ import annotations

from itertools import pairwise

from pydantic import ValidationInfo, field_validator, model_validator

from bench.core.section import Section
from bench.offers.fields import Confidence, Count, Share, Source, Text


class CreditTier(Section):
    """A credit, and how low a month's availability must have been for it."""

    below: Share
    """Due in a month of less availability than this, unless a tier further down is."""
    credit_share: Share
    """Of what the month cost."""
    credit_share_up_to: Share | None = None
    """The other end, where the source gives a range without saying what it depends on."""

    @field_validator("credit_share_up_to")
    @classmethod
    def _a_range_in_order(cls, most: Share | None, info: ValidationInfo) -> Share | None:
        least = info.data.get("credit_share")
        if most is not None and least is not None and most <= least:
            raise ValueError("null, or a share above credit_share")
        return most


class Sla(Section):
    """A promise of availability over a calendar month."""

    promised: Share
    covers: Text | None = None
    """What it is promised of: an instance, a region."""
    tiers: tuple[CreditTier, ...] = ()
    """Empty where it is not known what is credited."""
    cap_share: Share | None = None
    """Most that a month credits, as a share of its cost; null where no cap is known."""
    claim_needed: bool | None = None
    """Whether nothing is credited that is not claimed; null where that is not known."""
    claim_days: Count | None = None
    """Within so many days of the month's end."""
    exclusions: tuple[Text, ...] = ()
    """What is down and does not count as such."""
    source: Source
    confidence: Confidence

    @field_validator("tiers")
    @classmethod
    def _deeper_tiers_give_more(cls, tiers: tuple[CreditTier, ...], info: ValidationInfo) -> tuple[CreditTier, ...]:
        falling = sorted(tiers, key=lambda tier: tier.below, reverse=True)
        promised = info.data.get("promised")
        if promised is not None and any(tier.below > promised for tier in tiers):
            raise ValueError("tiers below what is promised")
        for above, under in pairwise(falling):
            if under.below == above.below or under.credit_share <= above.credit_share:
                raise ValueError("tiers that differ, and give more further down")
        return tuple(falling)

    @model_validator(mode="after")
    def _days_only_of_a_claim(self) -> Sla:
        if self.claim_days is not None and not self.claim_needed:
            raise ValueError("claim_days only with claim_needed: true")
        return self
