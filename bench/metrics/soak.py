"""What hours of one case come to: whether it stayed what it was, and how often and how long the engine was away."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from bench.core.records import Headline
from bench.core.units import SECONDS_PER_HOUR
from bench.metrics.availability import Availability, availability, failures_per_hour
from bench.metrics.constancy import Constancy, constancy
from bench.metrics.outages import Outage, Stretch, up_and_down
from bench.metrics.settling import Settling, settling
from bench.metrics.statistics import Confidence, between_runs
from bench.metrics.verdict import FAILED_SHARE

_TOLD_OTHERWISE = frozenset({"engine_failed", "interrupted", "failures"})
_OF_THE_CASE = frozenset({"too_few_requests", "no_steady_window", "client_late", "client_saturated"})
"""Reasons that say nothing of the machine under test: what was asked shows too little of it."""


@dataclass(frozen=True)
class SoakedSegment:
    """One time the case was run, as far as its record tells."""

    record: str
    stretch: Stretch
    engine: int
    """Which start of the engine it was."""
    left_out: str | None
    """Why its figures are not compared with the others'; None where they are."""
    output_tokens_per_s: float | None
    joules_per_output_token: Mapping[str, float]
    """By scope; those that have any."""
    temperature_c: float | None
    """Mean over the run and the devices; None where nothing tells it."""
    sent: int
    completed: int
    failed: Mapping[str, int]
    """Requests by kind of failure."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why its record is invalid, messages by code."""
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """Something that records say of themselves."""

    message: str
    """As the first of them has it."""
    segments: int
    first_at_hours: float


@dataclass(frozen=True)
class HotAndCold:
    by: Literal["temperature", "time"]
    """What tells the two apart."""
    plateau_c: float | None
    cold_segments: int
    hot_segments: int
    cold_output_tokens_per_s: Headline
    hot_output_tokens_per_s: Headline
    hot_over_cold: float | None
    """None where either has no segment."""


@dataclass(frozen=True)
class Requests:
    sent: int
    completed: int
    failed: Mapping[str, int]
    """By kind of failure."""


@dataclass(frozen=True)
class Finding:
    code: Literal["outages", "failures", "invalid_segments", "output_tokens_per_s", "joules_per_output_token"]
    message: str


@dataclass(frozen=True)
class Stability:
    status: Literal["stable", "unstable", "undecided"]
    """`undecided` where nothing was found and too little was seen to rule it out."""
    findings: tuple[Finding, ...]
    undecided: tuple[str, ...]
    """What could not be ruled out, and why."""


@dataclass(frozen=True)
class Soaked:
    hours: float
    """From the beginning to the last event."""
    segments: tuple[SoakedSegment, ...]
    stability: Stability
    compared: Literal["hot", "all"]
    """Which segments slope and shifts are of: the hot ones, unless there are fewer than cold ones."""
    output_tokens_per_s: Constancy
    joules_per_output_token: Mapping[str, Constancy]
    """By scope."""
    hot_and_cold: HotAndCold
    requests: Requests
    outages: tuple[Outage, ...]
    restarts: int
    """Starts of the engine after its first, those that failed included."""
    time_to_recover_s: float | None
    """The median of the outages that ended; None where none did."""
    availability: Availability
    failures_per_hour: Headline
    invalid: Mapping[str, Told]
    """What made records invalid, by code."""
    notes: Mapping[str, Told]
    """What else records say, by code."""


def soaked(
    segments: Sequence[SoakedSegment], *, total_s: float, engine_start_s: float | None, confidence: Confidence
) -> Soaked:
    """The whole of a soak of `total_s` seconds whose engine took `engine_start_s` to start, in order of time."""
    kept = [segment for segment in segments if segment.left_out is None]
    settled = settling([one.temperature_c for one in kept], [one.stretch.end_s for one in kept])
    hot = kept[settled.cold :]
    compared = hot if len(hot) >= settled.cold else kept
    history = up_and_down(segment.stretch for segment in segments)
    throughput = _constancy(compared, lambda segment: segment.output_tokens_per_s, confidence)
    scopes = sorted({scope for segment in compared for scope in segment.joules_per_output_token})
    energy = {scope: _constancy(compared, _joules(scope), confidence) for scope in scopes}
    requests = _requests(segments)
    up_s, down_s = history.up_s, math.fsum(outage.down_s for outage in history.outages)
    invalid = _told(segments, lambda segment: segment.reasons)
    return Soaked(
        hours=total_s / SECONDS_PER_HOUR,
        segments=tuple(segments),
        stability=_stability(throughput, energy, requests, history.outages, invalid, len(segments)),
        compared="hot" if compared is hot else "all",
        output_tokens_per_s=throughput,
        joules_per_output_token=energy,
        hot_and_cold=_hot_and_cold(kept, settled, confidence.level),
        requests=requests,
        outages=history.outages,
        restarts=max((segment.engine for segment in segments), default=1) - 1,
        time_to_recover_s=median(history.repairs_s) if history.repairs_s else None,
        availability=availability(
            up_s,
            history.repairs_s,
            level=confidence.level,
            unrepaired_s=history.unrepaired_s,
            start_s=engine_start_s,
            unobserved_s=max(0.0, total_s - up_s - down_s),
        ),
        failures_per_hour=failures_per_hour(up_s, len(history.outages), level=confidence.level),
        invalid=invalid,
        notes=_told(segments, lambda segment: segment.notes),
    )


def _constancy(
    segments: Sequence[SoakedSegment], figure: Callable[[SoakedSegment], float | None], confidence: Confidence
) -> Constancy:
    told = [(_hours(segment), value) for segment in segments if (value := figure(segment))]
    return constancy([at for at, _ in told], [value for _, value in told], confidence)


def _joules(scope: str) -> Callable[[SoakedSegment], float | None]:
    return lambda segment: segment.joules_per_output_token.get(scope)


def _hot_and_cold(kept: Sequence[SoakedSegment], settled: Settling, level: float) -> HotAndCold:
    rates = [segment.output_tokens_per_s or 0.0 for segment in kept]
    cold, hot = (between_runs(part, level=level, rate=False) for part in (rates[: settled.cold], rates[settled.cold :]))
    return HotAndCold(
        by=settled.by,
        plateau_c=settled.plateau_c,
        cold_segments=settled.cold,
        hot_segments=len(kept) - settled.cold,
        cold_output_tokens_per_s=cold,
        hot_output_tokens_per_s=hot,
        hot_over_cold=hot.value / cold.value if hot.value and cold.value else None,
    )


def _requests(segments: Sequence[SoakedSegment]) -> Requests:
    failed: Counter[str] = Counter()
    for segment in segments:
        failed.update(segment.failed)
    return Requests(
        sent=sum(segment.sent for segment in segments),
        completed=sum(segment.completed for segment in segments),
        failed=dict(failed),
    )


def _told(segments: Sequence[SoakedSegment], said: Callable[[SoakedSegment], Mapping[str, str]]) -> dict[str, Told]:
    told: dict[str, Told] = {}
    for segment in segments:
        for code, message in said(segment).items():
            first = told.get(code, Told(message, 0, _hours(segment)))
            told[code] = Told(first.message, first.segments + 1, first.first_at_hours)
    return told


def _stability(
    throughput: Constancy,
    energy: Mapping[str, Constancy],
    requests: Requests,
    outages: Sequence[Outage],
    invalid: Mapping[str, Told],
    segments: int,
) -> Stability:
    findings = []
    if outages:
        findings.append(Finding("outages", f"{len(outages)} seen, the first because {outages[0].failure}"))
    failed = sum(requests.failed.values())
    if failed > FAILED_SHARE * requests.sent:
        kinds = ", ".join(f"{number} {kind}" for kind, number in requests.failed.items())
        findings.append(Finding("failures", f"{failed} of {requests.sent} requests failed: {kinds}"))
    invalid = {code: told for code, told in invalid.items() if code not in _TOLD_OTHERWISE}
    of_machine = {code: told for code, told in invalid.items() if code not in _OF_THE_CASE}
    findings += [Finding("invalid_segments", _in_segments(*told, segments)) for told in of_machine.items()]
    if moved := throughput.moved:
        findings.append(Finding("output_tokens_per_s", f"output tokens/s moved {', '.join(moved)}"))
    for scope, joules in energy.items():
        if moved := joules.moved:
            told_moves = ", ".join(moved)
            findings.append(Finding("joules_per_output_token", f"J/token of scope {scope} moved {told_moves}"))
    open_questions = [_in_segments(code, told, segments) for code, told in invalid.items() if code in _OF_THE_CASE]
    if throughput.undecided:
        open_questions.append(f"output tokens/s: {throughput.undecided}")
    status: Literal["stable", "unstable", "undecided"] = "unstable" if findings else "stable"
    if not findings and open_questions:
        status = "undecided"
    return Stability(status, tuple(findings), tuple(open_questions))


def _in_segments(code: str, told: Told, segments: int) -> str:
    return f"{code} in {told.segments} of {segments}: {told.message}"


def _hours(segment: SoakedSegment) -> float:
    return segment.stretch.start_s / SECONDS_PER_HOUR
