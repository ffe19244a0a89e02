"""One rung of the energy ladder: the joules of a scope over the steady window, and what they come to per token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from bench.core.records import Basis, Headline
from bench.metrics.columns import Floats
from bench.metrics.modelled_energy import ModelledEnergy
from bench.metrics.power_readings import Device
from bench.metrics.scope_energy import ScopeEnergy, Untrusted
from bench.metrics.statistics import Confidence, absent, inverse, ratio, scaled
from bench.metrics.steady_state import Window
from bench.metrics.throughput import TokenSlices

PUBLISHED_BOUNDS = "from the least to the most that is published of the machine"


@dataclass(frozen=True)
class Served:
    """What the energy of each slice of the window was spent on."""

    window: Window
    tokens: TokenSlices
    correct: Floats | None
    """Correct answers, (SLICES,); None where none was checked."""
    confidence: Confidence


@dataclass(frozen=True)
class AboveIdle:
    """What a rung comes to beyond what the idle, loaded engine drew for as long. Beside the whole, never instead."""

    idle_watts: float | None
    idle_error: float | None
    """Share of them that they may be wrong by for being read only so often, two standard errors."""
    joules: float | None
    joules_per_output_token: Headline
    """Its interval is that of the rung, widened by what the idle power may be wrong by."""
    reason: str | None = None
    """Why it is null."""


@dataclass(frozen=True)
class Rung:
    """Energy of one scope over the steady window."""

    source: Literal["counter", "integral", "declared", "modelled"] | None
    devices: tuple[str, ...]
    joules: float | None
    mean_watts: float | None
    joules_per_output_token: Headline
    joules_per_total_token: Headline
    output_tokens_per_s_per_watt: Headline
    tokens_per_s_per_mw: Headline
    """Output tokens per second and megawatt."""
    joules_per_correct_answer: Headline | None = None
    """None where no answer was checked."""
    reason: str | None = None
    """Why the rung is null."""
    counter_over_integral: float | None = None
    """Joules by the counter over joules by the watts, of the device where they are furthest apart."""
    unchecked: str | None = None
    """Why a metered rung's counter and watts could not be compared."""
    error: float | None = None
    """Share of its joules that a metered rung may be wrong by for being read only so often, two standard errors."""
    model: str | None = None
    """What a modelled rung is made of."""
    above_idle: AboveIdle | None = None
    """None where it was not asked for, or the rung was not metered."""


def metered_rung(found: ScopeEnergy | Untrusted, devices: Sequence[Device], served: Served) -> Rung:
    """The rung of `devices`, null where what they told cannot be trusted."""
    if isinstance(found, ScopeEnergy):
        rung = _rung(found.metered.joules, served, found.source, "measured")
        rung = replace(rung, error=found.metered.error)
    else:
        none = absent(found.reason, served.confidence.level)
        rung = Rung(None, (), None, None, none, none, none, none, reason=found.reason)
    return replace(
        rung,
        devices=tuple(device.name for device in devices),
        counter_over_integral=found.comparison.counter_over_integral,
        unchecked=found.comparison.unchecked,
    )


def declared_rung(watts: float, served: Served) -> Rung:
    return _rung(watts * served.tokens.seconds, served, "declared", "assumed")


def modelled_rung(of: ModelledEnergy, served: Served) -> Rung:
    """Where what is published is a range, its middle, and intervals from its one end to its other."""
    rung = replace(_rung(of.middle, served, "modelled", of.basis), model=of.model)
    if (of.low == of.high).all():
        return rung
    least, most = (_rung(joules, served, "modelled", of.basis) for joules in (of.low, of.high))
    spanned: dict[str, Any] = {
        name: _spanned(middle, getattr(least, name), getattr(most, name))
        for name in ("joules_per_output_token", "joules_per_total_token", "joules_per_correct_answer")
        if (middle := getattr(rung, name)) is not None
    }
    tokens_per_joule = inverse(spanned["joules_per_output_token"])
    return replace(
        rung,
        **spanned,
        output_tokens_per_s_per_watt=tokens_per_joule,
        tokens_per_s_per_mw=scaled(tokens_per_joule, 1e6),
    )


def above_idle(
    rung: ScopeEnergy, idle: ScopeEnergy | Untrusted | None, idle_seconds: float, served: Served
) -> AboveIdle:
    """`idle` is what the same devices used in `idle_seconds` of idling; None where they were not read then."""
    if not isinstance(idle, ScopeEnergy):
        reason = f"idle power: {'it was not read' if idle is None else idle.reason}"
        return AboveIdle(None, None, None, absent(reason, served.confidence.level), reason)
    watts, error = idle.metered.total / idle_seconds, idle.metered.error
    idled = watts * served.tokens.seconds
    joules = rung.metered.joules - idled
    per_token = ratio(joules, served.tokens.output, served.confidence)
    off = ratio(error * idled, served.tokens.output, served.confidence).value
    return AboveIdle(watts, error, math.fsum(joules), _widened(per_token, off))


def _rung(
    joules: Floats, served: Served, source: Literal["counter", "integral", "declared", "modelled"], basis: Basis
) -> Rung:
    confidence = served.confidence
    per_output_token = ratio(joules, served.tokens.output, confidence, basis=basis)
    total = math.fsum(joules)
    return Rung(
        source=source,
        devices=(),
        joules=total,
        mean_watts=total / served.window.seconds,
        joules_per_output_token=per_output_token,
        joules_per_total_token=ratio(joules, served.tokens.total, confidence, basis=basis),
        output_tokens_per_s_per_watt=inverse(per_output_token),
        tokens_per_s_per_mw=scaled(inverse(per_output_token), 1e6),
        joules_per_correct_answer=(
            None if served.correct is None else ratio(joules, served.correct, confidence, basis=basis)
        ),
    )


def _widened(headline: Headline, half: float | None) -> Headline:
    if half is None or headline.low is None or headline.high is None:
        return headline
    return replace(
        headline,
        low=headline.low - half,
        high=headline.high + half,
        method=f"{headline.method}, and what idle power may be off by",
    )


def _spanned(middle: Headline, least: Headline, most: Headline) -> Headline:
    if middle.value is None:
        return middle
    low = least.value if least.low is None else least.low
    high = most.value if most.high is None else most.high
    return replace(middle, low=low, high=high, method=PUBLISHED_BOUNDS)
