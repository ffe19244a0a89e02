"""Energy of the steady window per token, one rung a scope; scopes are never added to one another.

The energy counter is preferred, and checked against the integral of the watts where both were read. Where a scope was
not read a declared wattage may stand for it, marked `assumed`. A rung that cannot be known is null with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.core.power_spec import DeclaredPower
from bench.core.records import Basis, Headline
from bench.metrics.columns import Floats
from bench.metrics.power_readings import Device, Unreadable, counted_joules, integrated_joules, precise
from bench.metrics.statistics import Confidence, absent, inverse, ratio, scaled
from bench.metrics.steady_state import Window
from bench.metrics.throughput import TokenSlices, slice_edges


@dataclass(frozen=True)
class Rung:
    """Energy of one scope over the steady window."""

    source: Literal["counter", "integral", "declared"] | None
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
    """Joules by the counter over joules by the watts, where both were read."""


@dataclass(frozen=True)
class Energy:
    rungs: dict[str, Rung] = field(default_factory=dict)
    missing: str | None = None
    """Why there is no rung at all."""


@dataclass(frozen=True)
class Served:
    """What the energy of each slice of the window was spent on."""

    tokens: TokenSlices
    correct: Floats | None
    """Correct answers, (SLICES,); None where none was checked."""


def energy(
    devices: Sequence[Device],
    tokens: TokenSlices,
    window: Window,
    confidence: Confidence,
    *,
    declared: DeclaredPower | None,
    power_missing: str | None,
    correct: Floats | None = None,
) -> Energy:
    """A rung for every scope that was read, and the declared one where its scope was not.

    `correct` is the number of correct answers in each slice, where answers were checked.
    """
    served = Served(tokens, correct)
    rungs = {
        scope: _measured_rung([d for d in devices if d.scope == scope], served, window, confidence)
        for scope in sorted({device.scope for device in devices})
    }
    if declared is not None and declared.scope not in rungs:
        joules = declared.watts * tokens.seconds
        rungs[declared.scope] = _rung(joules, served, window, confidence, source="declared", basis="assumed")
    if rungs:
        return Energy(rungs)
    return Energy(missing=power_missing or "no power reading was logged")


def _measured_rung(devices: Sequence[Device], served: Served, window: Window, confidence: Confidence) -> Rung:
    names = tuple(device.name for device in devices)
    edges = slice_edges(window)
    counted, integrated = counted_joules(devices, edges), integrated_joules(devices, edges)
    readable = not isinstance(counted, Unreadable) and not isinstance(integrated, Unreadable)
    check = counted.total / integrated.total if readable else None
    counted, integrated = precise(counted), precise(integrated)
    if not isinstance(counted, Unreadable):
        return _rung(
            counted.joules, served, window, confidence, source="counter", devices=names, counter_over_integral=check
        )
    if not isinstance(integrated, Unreadable):
        return _rung(integrated.joules, served, window, confidence, source="integral", devices=names)
    return _null_rung(f"energy counter: {counted.reason}; watts: {integrated.reason}", names, confidence)


def _rung(
    joules: Floats,
    served: Served,
    window: Window,
    confidence: Confidence,
    *,
    source: Literal["counter", "integral", "declared"],
    basis: Basis = "measured",
    devices: tuple[str, ...] = (),
    counter_over_integral: float | None = None,
) -> Rung:
    per_output_token = ratio(joules, served.tokens.output, confidence, basis=basis)
    total = math.fsum(joules)
    return Rung(
        source=source,
        devices=devices,
        joules=total,
        mean_watts=total / window.seconds,
        joules_per_output_token=per_output_token,
        joules_per_total_token=ratio(joules, served.tokens.total, confidence, basis=basis),
        output_tokens_per_s_per_watt=inverse(per_output_token),
        tokens_per_s_per_mw=scaled(inverse(per_output_token), 1e6),
        joules_per_correct_answer=(
            None if served.correct is None else ratio(joules, served.correct, confidence, basis=basis)
        ),
        counter_over_integral=counter_over_integral,
    )


def _null_rung(reason: str, devices: tuple[str, ...], confidence: Confidence) -> Rung:
    none = absent(reason, confidence.level)
    return Rung(None, devices, None, None, none, none, none, none, reason=reason)
