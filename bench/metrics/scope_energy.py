"""The energy of one scope by its meters: the counter, held against the integral of the watts.

Where both were read they are compared, device by device: far apart, neither is believed. Where one is not known well
enough the other stands alone.

Some boards look at their power for a part of the time only, 25 ms of every 100 on A100 and H100 (arXiv:2312.02741). A
load that beats in that time is seen at one moment of its course alone, and no reading shows it, so such watts are never
believed by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.metrics.columns import Floats
from bench.metrics.power_readings import Device, Metered, Unreadable, counted, integrated

MAX_ERROR = 0.005
NOTED_DISAGREEMENT = 0.05
"""Relative difference of energy counter and integrated watts above which it is noted."""
MAX_DISAGREEMENT = 0.15
"""Above which neither is trusted."""

Source = Literal["counter", "integral"]


@dataclass(frozen=True)
class Comparison:
    """Of counter and watts, where both were read."""

    counter_over_integral: float | None = None
    """Joules by the counter over joules by the watts, of the device where they are furthest apart."""
    unchecked: str | None = None
    """Why they could not be compared; None where they were."""


@dataclass(frozen=True)
class ScopeEnergy:
    metered: Metered
    source: Source
    comparison: Comparison


@dataclass(frozen=True)
class Untrusted:
    reason: str
    comparison: Comparison


def scope_energy(
    devices: Sequence[Device], edges: Floats, *, part_time: bool = False, max_error: float = MAX_ERROR
) -> ScopeEnergy | Untrusted:
    """Joules of all `devices` of a scope between consecutive `edges`, (n,), or why they are not known to `max_error`.

    `part_time` says that their sensors of power do not look all the time.
    """
    by_counter, by_watts = _of_all(counted, devices, edges), _of_all(integrated, devices, edges)
    comparison = Comparison()
    if isinstance(by_counter, Unreadable):
        comparison = Comparison(unchecked=f"energy counter: {by_counter.reason}")
    elif isinstance(by_watts, Unreadable):
        comparison = Comparison(unchecked=f"watts: {by_watts.reason}")
    else:
        furthest = max(range(len(devices)), key=lambda one: abs(_ratio(by_counter[one], by_watts[one]) - 1))
        ratio = _ratio(by_counter[furthest], by_watts[furthest])
        comparison = Comparison(counter_over_integral=ratio)
        if abs(ratio - 1) > MAX_DISAGREEMENT:
            told = f"{by_counter[furthest].total:.4g} J by its energy counter, {by_watts[furthest].total:.4g} J by its"
            return Untrusted(
                f"{devices[furthest].name} used {told} watts: over {MAX_DISAGREEMENT:.0%} apart, neither is trusted",
                comparison,
            )
    counter, watts = _precise(by_counter, max_error), _precise(by_watts, max_error)
    if not isinstance(counter, Unreadable):
        return ScopeEnergy(counter, "counter", comparison)
    if part_time and not isinstance(watts, Unreadable):
        watts = Unreadable("their sensor looks for a part of the time only, so they do not stand alone")
    if not isinstance(watts, Unreadable):
        return ScopeEnergy(watts, "integral", comparison)
    return Untrusted(f"energy counter: {counter.reason}; watts: {watts.reason}", comparison)


def _of_all(
    read: Callable[[Device, Floats], Metered | Unreadable], devices: Sequence[Device], edges: Floats
) -> list[Metered] | Unreadable:
    """One a device, or why that of one of them is not known: part of a scope is not the scope."""
    parts: list[Metered] = []
    for device in devices:
        part = read(device, edges)
        if isinstance(part, Unreadable):
            return part if len(devices) == 1 else Unreadable(f"{device.name}: {part.reason}")
        parts.append(part)
    return parts


def _ratio(counter: Metered, watts: Metered) -> float:
    return counter.total / watts.total


def _precise(parts: list[Metered] | Unreadable, max_error: float) -> Metered | Unreadable:
    if isinstance(parts, Unreadable):
        return parts
    metered = Metered.sum(parts)
    if metered.error <= max_error:
        return metered
    return Unreadable(
        f"new readings every {metered.resolution_s:.3g} s leave so short or uneven a time {metered.error:.2%} "
        f"uncertain, over {max_error:.1%}"
    )
