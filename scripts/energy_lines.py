"""What runs of the suite `energy` come to: joules per token of each, and how far repeats of one case lie apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

from bench.report.format import number
from bench.results.record import Record

AIM = 0.03
"""Between the least and the most of one case's repeats, as a share of their mean."""
_PER_TOKEN = (("joules_per_output_token", "output token"), ("joules_per_total_token", "token, prompts included"))


def energy_lines(records: Sequence[Record]) -> Iterator[str]:
    """Of each case every scope that was read or declared: idle watts, joules per token, phases; or why there are none.

    Invalid records are left out, and counted.
    """
    cases: dict[str, list[Record]] = {}
    for record in records:
        cases.setdefault(record.case.id, []).append(record)
    for repeats in cases.values():
        valid = [record for record in repeats if record.verdict.status == "valid"]
        flaw = f", {len(repeats) - len(valid)} invalid left out" if len(valid) < len(repeats) else ""
        runs = "1 run" if len(valid) == 1 else f"{len(valid)} runs"
        yield f"{repeats[0].case.spec.name}: {runs}{flaw}"
        energies = [record.energy or {} for record in valid]
        rungs = [energy.get("rungs") or {} for energy in energies]
        for scope in dict.fromkeys(scope for one in rungs for scope in one):
            yield from _scope_lines(scope, [one[scope] for one in rungs if scope in one])
            yield from _phase_lines(scope, [energy.get("phases") or {} for energy in energies])
        if valid and not any(rungs):
            yield f"  no joules: {energies[0].get('missing')}"


def _scope_lines(scope: str, rungs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    idle = [(rung.get("above_idle") or {}).get("idle_watts") for rung in rungs]
    if any(watts is not None for watts in idle):
        yield f"  {scope}, idle: {', '.join(map(number, idle))} W"
    for key, token in _PER_TOKEN:
        stored = [rung[key] for rung in rungs]
        values = [one["value"] for one in stored if one["value"] is not None]
        told = ", ".join(number(one["value"]) for one in stored)
        yield f"  {scope}, {stored[0]['basis']}: {told} J per {token}{_agreement(values)}"


def _agreement(values: Sequence[float]) -> str:
    if len(values) < 2 or not mean(values):
        return ""
    share = (max(values) - min(values)) / mean(values)
    return f"; {share:.1%} apart, {'within' if share <= AIM else 'NOT within'} {AIM:.0%}"


def _phase_lines(scope: str, phases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    told = [one[scope]["joules"] for one in phases if one.get(scope) is not None]
    for phase in dict.fromkeys(phase for joules in told for phase in joules):
        values = [joules[phase]["value"] for joules in told if phase in joules]
        yield f"  {scope}, {phase}: {', '.join(map(number, values))} J of the window"
