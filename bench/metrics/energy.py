"""Energy of the steady window, one rung a scope; scopes are never added to one another.

A rung is measured; or a declared wattage stands for it, marked `assumed`; or it is modelled, from others and from what
is published of the machine. What cannot be known is null with its reason, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bench.core.power_spec import PowerSpec
from bench.core.units import seconds_from_ns
from bench.metrics.context import RunContext
from bench.metrics.modelled_energy import KnownEnergy, Surroundings, modelled_rungs
from bench.metrics.phase_energy import PhaseEnergy, phase_energy
from bench.metrics.phase_work import PhaseWork
from bench.metrics.power_facts import PowerFacts
from bench.metrics.power_readings import Device
from bench.metrics.rung import Rung, Served, above_idle, declared_rung, metered_rung, modelled_rung
from bench.metrics.scope_energy import ScopeEnergy, Untrusted, scope_energy
from bench.metrics.throughput import slice_edges

_IDLE_ERROR = 0.05
"""Idle power may be known less well than energy: it is a fraction of that, and after a start still falls."""
_BY_THE_BOARD = ("gpu", "memory")
"""Scopes whose power the accelerator's own board tells."""


@dataclass(frozen=True)
class Energy:
    rungs: dict[str, Rung] = field(default_factory=dict)
    missing: str | None = None
    """Why there is no rung at all."""
    absent: dict[str, str] = field(default_factory=dict)
    """By scope without a rung: why it was not read, and why it is not modelled."""
    phases: dict[str, PhaseEnergy] = field(default_factory=dict)
    """By scope that was measured."""


@dataclass(frozen=True)
class _Scope:
    """One scope that was read."""

    devices: Sequence[Device]
    part_time: bool
    found: ScopeEnergy | Untrusted


def energy(
    devices: Sequence[Device], served: Served, power: PowerSpec, context: RunContext, work: PhaseWork | None
) -> Energy:
    """The ladder of a run: what was read, what was declared where that was not, and what can be modelled.

    `work` is what the engine did when; None where it does not say.
    """
    facts = context.power or PowerFacts()
    scopes = _scopes(devices, served, facts)
    rungs = {scope: _metered(of, served, power, context) for scope, of in scopes.items()}
    known = {
        scope: KnownEnergy(of.found.metered.joules, of.found.metered.joules, "measured")
        for scope, of in scopes.items()
        if isinstance(of.found, ScopeEnergy)
    }
    if (declared := power.declared) is not None and declared.scope not in rungs:
        joules = declared.watts * served.tokens.seconds
        known[declared.scope] = KnownEnergy(joules, joules, "assumed")
        rungs[declared.scope] = declared_rung(declared.watts, served)
    read = len(scopes["gpu"].devices) if "gpu" in scopes else context.accelerators
    around = Surroundings(facts.figures, read, power.pue)
    modelled, why_not = modelled_rungs(known, rungs, around, served.tokens.seconds)
    rungs |= {scope: modelled_rung(of, served) for scope, of in modelled.items()}
    return Energy(
        rungs,
        missing=None if rungs else context.power_missing or "no power reading was logged",
        absent=_absent(facts.unread, why_not, rungs) if context.power is not None else {},
        phases={
            scope: phase_energy(of.devices, of.found, work, served)
            for scope, of in scopes.items()
            if isinstance(of.found, ScopeEnergy)
        },
    )


def _scopes(devices: Sequence[Device], served: Served, facts: PowerFacts) -> dict[str, _Scope]:
    edges = slice_edges(served.window)
    duty = None if facts.figures is None else facts.figures.sensor_duty
    scopes = {}
    for scope in sorted({device.scope for device in devices}):
        of = [device for device in devices if device.scope == scope]
        part_time = duty is not None and scope in _BY_THE_BOARD
        scopes[scope] = _Scope(of, part_time, scope_energy(of, edges, part_time=part_time))
    return scopes


def _metered(of: _Scope, served: Served, power: PowerSpec, context: RunContext) -> Rung:
    rung = metered_rung(of.found, of.devices, served)
    if power.idle_s is None or not isinstance(of.found, ScopeEnergy):
        return rung
    return replace(rung, above_idle=above_idle(of.found, *_idle(of, context), served))


def _idle(of: _Scope, context: RunContext) -> tuple[ScopeEnergy | Untrusted | None, float]:
    """What its devices used while the engine idled, and for how many seconds; None where nobody looked."""
    idle = None if context.power is None else context.power.idle
    if idle is None:
        return None, 0.0
    period = np.array([idle.start_ns - context.start_ns, idle.end_ns - context.start_ns], dtype=np.float64)
    found = scope_energy(of.devices, period, part_time=of.part_time, max_error=_IDLE_ERROR)
    return found, seconds_from_ns(float(period[1] - period[0]))


def _absent(unread: Mapping[str, str], why_not: Mapping[str, str], rungs: Mapping[str, Rung]) -> dict[str, str]:
    scopes = sorted({*unread, *why_not} - set(rungs))
    return {scope: "; ".join(told[scope] for told in (unread, why_not) if scope in told) for scope in scopes}
