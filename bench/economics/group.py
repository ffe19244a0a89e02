"""What economics needs to know of a measured group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.core.records import Headline
from bench.economics.availability import ObservedAvailability
from bench.offers.offer import Unit


@dataclass(frozen=True, slots=True)
class MedianRates:
    """A group's rates at the median node of its SKU."""

    uncached_input_tokens_per_s: Headline
    output_tokens_per_s: Headline
    total_tokens_per_s: Headline


@dataclass(frozen=True, slots=True)
class MeasuredGroup:
    """Records of one case on one node class. Rates are of the whole run: all `used` pieces of hardware together."""

    label: str
    """Id of the record or of the group."""
    case: str
    model: str
    """The model's public name, which token prices are matched by."""
    key: Mapping[str, object]
    """The comparability key, field by field."""
    hardware: str
    hardware_unit: Unit
    used: int
    uncached_input_tokens_per_s: Headline
    output_tokens_per_s: Headline
    total_tokens_per_s: Headline
    joules_per_output_token: Headline | None
    verdict: Literal["valid", "invalid"]
    accuracy: Literal["passed", "failed", "not_applicable"]
    good_share: float = 1.0
    """Goodput over output tokens; 1 where no service level was asked."""
    correct_answers_per_s: Headline | None = None
    """None where no answer was checked."""
    reasons: tuple[str, ...] = ()
    """Why the verdict is invalid."""
    availability: ObservedAvailability | None = None
    """Of its node class, as soaks saw it; None where there was none."""
    at_median: MedianRates | None = None
    """None where they were not asked for, or are not known."""

    @property
    def invalid(self) -> str | None:
        """Why this group is never ranked; None when it may be."""
        if self.verdict == "invalid":
            return f"invalid: {', '.join(self.reasons) or 'no reason recorded'}"
        return "invalid: accuracy failed" if self.accuracy == "failed" else None

    def why_not(self, reference: MeasuredGroup) -> str | None:
        """Why this group does not rank beside `reference`: it is invalid, or the first key field that differs."""
        differing = (name for name in {**reference.key, **self.key} if self.key.get(name) != reference.key.get(name))
        return self.invalid or next(differing, None)
