"""Results joined to offers: records become groups, and groups of one comparability key are ranked together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.core.errors import InputError
from bench.core.records import Headline
from bench.economics.availability import ObservedAvailability
from bench.economics.compare import Assumptions, Comparison, ComparisonRow, compare
from bench.economics.decision import Decision
from bench.economics.group import MeasuredGroup
from bench.groups import combined, groups_of, hardware_of, valid_repeats
from bench.node.fleet import FleetNode
from bench.normalise import NormalisedGroup, normalised
from bench.offers.offer import Offer
from bench.results.comparability import comparability_key
from bench.results.record import Record
from bench.results.result import Result

_LADDER = ("facility", "rack", "node", "module", "gpu", "cpu")
"""Scopes of energy, widest first: the widest that was measured is the one a bill is nearest to."""
_BY_TRUST = (("counter", "integral"), ("declared",), ("modelled",))
"""Where the energy of a scope may come from: what was measured goes before what was said or made up."""


@dataclass(frozen=True)
class CaseDecision:
    """The decision among the groups and offers of one comparability key."""

    cases: tuple[str, ...]
    decision: Decision


@dataclass(frozen=True)
class Decisions:
    text: str
    by_key: tuple[CaseDecision, ...]


@dataclass(frozen=True)
class ResultComparison:
    """Rows of every key, those that rank first; an offer that meets no group at all stands once."""

    rows: tuple[ComparisonRow, ...]
    decision: Decisions
    groups: tuple[MeasuredGroup, ...]
    assumptions: Assumptions
    normalised: tuple[NormalisedGroup, ...] = ()
    """Every group at the median of its SKU, where that was asked for."""


@dataclass(frozen=True)
class Known:
    """What is known of the machines besides the results."""

    availability: Mapping[str, ObservedAvailability] = field(default_factory=dict)
    """By hardware key, as soaks saw it."""
    fleet: Sequence[FleetNode] = ()
    """Fingerprints of nodes."""


def compare_results(
    results: Sequence[Result],
    offers: Sequence[Offer],
    assumptions: Assumptions,
    known: Known = Known(),
    *,
    normalise: bool = False,
) -> ResultComparison:
    """Price every group of `results` on every offer, with `normalise` also at the median of its SKU.

    Raises InputError for assumptions out of range, and for an availability that is both assumed and observed.
    """
    if known.availability and assumptions.loading.availability != 1:
        raise InputError("an availability beside that of a soak", where="--availability", allowed="one of the two")
    records_of = [valid_repeats(records) for records in groups_of(result.record for result in results)]
    groups = [_group(records, known) for records in records_of]
    medians = [normalised(group, of, known.fleet) for group, of in zip(groups, records_of, strict=True) if normalise]
    if normalise:
        groups = [replace(group, at_median=of.rates) for group, of in zip(groups, medians, strict=True)]
    by_key: dict[str, list[MeasuredGroup]] = {}
    for group in groups:
        by_key.setdefault(repr(sorted(group.key.items())), []).append(group)
    comparisons = [compare(together, offers, assumptions) for together in by_key.values()]
    decisions = tuple(
        CaseDecision(tuple(sorted({group.case for group in together})), comparison.decision)
        for together, comparison in zip(by_key.values(), comparisons, strict=True)
    )
    return ResultComparison(
        rows=_merged(comparisons),
        decision=Decisions("; ".join(f"{', '.join(d.cases)}: {d.decision.text}" for d in decisions), decisions),
        groups=tuple(groups),
        assumptions=assumptions,
        normalised=tuple(medians),
    )


def _group(ranked: list[Record], known: Known) -> MeasuredGroup:
    """One group of repeats, from those that count."""
    first = ranked[0]
    hardware = hardware_of(first)
    accelerators = (first.run or {}).get("accelerators", 0)
    idle = hardware["unit"] == "accelerator" and accelerators == 0
    return MeasuredGroup(
        label=first.id if len(ranked) == 1 else f"{first.case.spec.name} × {len(ranked)}",
        case=first.case.spec.name,
        model=Path(first.case.spec.model.path).name,
        key=comparability_key(first),
        hardware=f"processors of {hardware['key']}" if idle else hardware["key"],  # no offer sells those apart
        hardware_unit=hardware["unit"],
        used=max(1, accelerators),
        uncached_input_tokens_per_s=_rate(ranked, "uncached_input_tokens_per_s"),
        output_tokens_per_s=_rate(ranked, "output_tokens_per_s"),
        total_tokens_per_s=_rate(ranked, "total_tokens_per_s"),
        joules_per_output_token=_joules(ranked),
        verdict=first.verdict.status,
        accuracy=(first.accuracy or {}).get("status", "not_applicable"),
        good_share=_good_share(ranked),
        correct_answers_per_s=_correct_answers(ranked),
        reasons=tuple(reason["code"] for reason in first.verdict.reasons),
        availability=known.availability.get(hardware["key"]),
    )


def _rate(records: list[Record], name: str) -> Headline:
    return combined([(record.throughput or {}).get(name) for record in records], rate=True)


def _joules(records: list[Record]) -> Headline | None:
    rungs = [(record.energy or {}).get("rungs") or {} for record in records]
    known = [scope for scope in _LADDER if all(scope in of and of[scope]["joules"] is not None for of in rungs)]
    for sources in _BY_TRUST:
        for scope in known:
            if all(of[scope]["source"] in sources for of in rungs):
                return combined([of[scope]["joules_per_output_token"] for of in rungs], rate=True)
    return None


def _good_share(records: list[Record]) -> float:
    """Goodput over output tokens; 1 where no service level was asked, since then every token is good."""
    shares = []
    for record in records:
        asked = record.case.spec.slo.binds
        share = (record.goodput or {}).get("good_token_share", {}).get("value") if asked else 1.0
        shares.append(0.0 if share is None else share)
    return sum(shares) / len(shares)


def _correct_answers(records: list[Record]) -> Headline | None:
    rates = [(record.success or {}).get("correct_answers_per_s") for record in records]
    return None if None in rates else combined(rates, rate=True)


def _merged(comparisons: Sequence[Comparison]) -> tuple[ComparisonRow, ...]:
    rows = [row for comparison in comparisons for row in comparison.rows]
    met = {(row.offer, row.term) for row in rows if row.group is not None}
    unmet = {(row.offer, row.term): row for row in rows if row.group is None and (row.offer, row.term) not in met}
    return (*(row for row in rows if row.group is not None), *unmet.values())
