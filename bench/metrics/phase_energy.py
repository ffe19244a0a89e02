"""What prefill, decode, idling and waiting for tools each took of the energy of the steady window.

E_total = j_in · T_uncached + j_out · T_out + E_idle + E_tool_wait

A step is shorter than the time between two readings of a meter, so no reading is of one phase alone. The window is cut
into cells of CELL_READINGS readings, and the energy of each is regressed on what was done in it:

    E = a · prefill tokens + b · decode tokens + c · steps + p · seconds of rest

Rest is when nothing is in flight; a waiting machine draws the same whatever it waits for. `c` is what a step costs
however many tokens it has, as the reading of the weights, and is left out where the number of steps follows from the
tokens. A step of both phases has its tokens' share for each and its `c` for decode, which it would have cost anyway.
What cannot be told apart is refused. Only a phase that is all there was is measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bench.core.records import Headline
from bench.metrics.columns import Floats
from bench.metrics.phase_work import CellWork, PhaseWork
from bench.metrics.power_readings import AVERAGED_S, Device, Metered, Unreadable, counted, integrated
from bench.metrics.regression import Sums, sums_of_terms
from bench.metrics.rung import Served
from bench.metrics.scope_energy import ScopeEnergy
from bench.metrics.statistics import absent, scaled
from bench.metrics.throughput import SLICES

CELL_READINGS = 10
"""A meter shows what was up to one reading ago, which so blurs a tenth of a cell at most."""
LEAST_CELLS = 20
LEAST_REST = 0.01
"""Share of the window below which rest is too short for its power to be told."""
MAX_WIDTH = 0.1
"""Share of the energy that a phase's interval may reach to either side."""

PHASES = ("prefill", "decode", "idle", "tool_wait")
REGRESSION = "regression on cells of the window, block jackknife"
ALONE = "the energy of the window, which holds nothing else"


@dataclass(frozen=True)
class Resolution:
    """How finely energy and steps could be laid side by side."""

    reading_s: float
    """From one new reading of the meter to the next; of watts, over how long they may be averages."""
    step_s: float | None
    """Length of a step, the median."""
    cell_s: float
    cells: int


@dataclass(frozen=True)
class PhaseEnergy:
    """One scope's energy by phase. The phases that are not null and `unexplained_joules` add up to that of the rung."""

    joules: dict[str, Headline]
    """Null where it was not told apart; rest too short for that is counted with what was computed."""
    joules_per_uncached_input_token: Headline
    joules_per_output_token: Headline
    """Of decode alone."""
    uncached_input_tokens: float | None = None
    """Computed in the window, a step that it cuts counted by its share."""
    output_tokens: float | None = None
    idle_s: float | None = None
    tool_wait_s: float | None = None
    steps: dict[str, int] = field(default_factory=dict)
    """By what they did: prefill, decode, or both (`mixed`)."""
    resolution: Resolution | None = None
    unexplained_joules: float | None = None
    error_joules: float | None = None
    """What the sum of the phases may be wrong by, at the level of the intervals."""
    reason: str | None = None
    """Why the phases are null."""


def phase_energy(devices: Sequence[Device], found: ScopeEnergy, work: PhaseWork | None, served: Served) -> PhaseEnergy:
    """The energy `found` of a scope's `devices` by phase; `work` is None where the engine logs no steps."""
    if work is None:
        return _null("the engine logs no steps", served)
    window = served.window
    reading_s = found.metered.resolution_s if found.source == "counter" else max(found.metered.resolution_s, AVERAGED_S)
    cells = min(SLICES, int(window.seconds / (CELL_READINGS * reading_s)))
    edges = np.linspace(window.start_ns, window.end_ns, max(cells, 1) + 1)
    done = work.in_cells(edges)
    told = replace(
        _null("", served),
        uncached_input_tokens=math.fsum(done.prefill_tokens),
        output_tokens=math.fsum(served.tokens.output),
        idle_s=math.fsum(done.idle_s),
        tool_wait_s=math.fsum(done.tool_wait_s),
        steps=work.counts(window),
        resolution=Resolution(reading_s, work.step_s(window), window.seconds / max(cells, 1), cells),
    )
    if (phase := _alone(done, window.seconds)) is not None:
        return _measured(told, phase, found.metered, served)
    if cells < LEAST_CELLS:
        few = f"the window has {cells} cells of {CELL_READINGS} readings ({reading_s:.3g} s each), fewer than"
        return _refused(told, f"{few} {LEAST_CELLS}", served)
    read = counted if found.source == "counter" else integrated
    parts = [read(device, edges) for device in devices]
    metered = [part for part in parts if isinstance(part, Metered)]
    for part in parts:
        if isinstance(part, Unreadable):
            return _refused(told, part.reason, served)
    return _modelled(told, done, Metered.sum(metered), found.metered, served)


def _alone(done: CellWork, seconds: float) -> str | None:
    """The phase that is all the window holds; None where there are several, or none."""
    if done.rest_s.sum() >= LEAST_REST * seconds:
        return None
    present = [phase for phase, amount in _tokens(done).items() if amount.sum() > 0]
    return present[0] if len(present) == 1 else None


def _tokens(done: CellWork) -> dict[str, Floats]:
    return {"prefill": done.prefill_tokens, "decode": done.decode_tokens}


def _measured(told: PhaseEnergy, phase: str, metered: Metered, served: Served) -> PhaseEnergy:
    total, error = metered.total, metered.error_joules
    level = served.confidence.level
    whole = Headline(total, total - error, total + error, level, ALONE, len(metered.joules), "measured")
    nothing = Headline(0.0, 0.0, 0.0, level, ALONE, len(metered.joules), "measured")
    joules = {name: whole if name == phase else nothing for name in PHASES}
    return _with(told, joules, 0.0, error, served)


def _modelled(told: PhaseEnergy, done: CellWork, cells: Metered, whole: Metered, served: Served) -> PhaseEnergy:
    total, level = whole.total, served.confidence.level
    sums = _split(done, cells.joules, LEAST_REST * served.window.seconds, level)
    if sums is None:
        return _refused(told, "the phases do not vary apart from one another, so they cannot be told apart", served)
    error = math.hypot(sums.total_half_width, whole.error_joules)
    unexplained = total - math.fsum(sums.values)
    for phase, value, half in zip(PHASES, sums.values, sums.half_widths, strict=True):
        if value < 0:
            return _refused(told, f"{phase} would come to {value:.3g} J, so the phases cannot be told apart", served)
        if half > MAX_WIDTH * total:
            return _refused(told, f"{phase} is known to ±{half / total:.0%} of the energy only", served)
    if abs(unexplained) > error:
        missed = f"the phases come to {math.fsum(sums.values):.4g} J of {total:.4g} J"
        return _refused(told, f"{missed}, further off than the ±{error:.3g} J they are known to", served)
    joules = {
        phase: Headline(value, max(0.0, value - half), value + half, level, REGRESSION, len(cells.joules), "projected")
        for phase, value, half in zip(PHASES, sums.values.tolist(), sums.half_widths.tolist(), strict=True)
    }
    return _with(told, joules, unexplained, error, served)


def _split(done: CellWork, joules: Floats, least_rest_s: float, level: float) -> Sums | None:
    """Joules of each of PHASES; None where they cannot be told apart."""
    rest, idle, wait = (math.fsum(of) for of in (done.rest_s, done.idle_s, done.tool_wait_s))
    columns = [(amount, {phase: math.fsum(amount)}) for phase, amount in _tokens(done).items() if amount.sum() > 0]
    if rest >= least_rest_s:
        columns.append((done.rest_s, {"idle": idle, "tool_wait": wait}))
    fixed = {"prefill": math.fsum(done.prefill_steps), "decode": math.fsum(done.decode_steps)}
    for chosen in ([*columns, (done.steps, fixed)], columns):
        regressors = np.column_stack([amount for amount, _ in chosen])
        weights = np.array([[goes_to.get(phase, 0.0) for _, goes_to in chosen] for phase in PHASES])
        sums = sums_of_terms(regressors, joules, weights, level)
        if sums is not None:
            return sums
    return None


def _with(
    told: PhaseEnergy, joules: dict[str, Headline], unexplained: float, error: float, served: Served
) -> PhaseEnergy:
    level = served.confidence.level
    rest_s = (told.idle_s or 0.0) + (told.tool_wait_s or 0.0)
    if 0 < rest_s < LEAST_REST * served.window.seconds:
        short = absent(f"at rest for {rest_s:.2g} s, too short to tell: counted with what was computed", level)
        joules = {**joules, "idle": short, "tool_wait": short}
    return replace(
        told,
        joules=joules,
        joules_per_uncached_input_token=_per_token(joules["prefill"], told.uncached_input_tokens, level),
        joules_per_output_token=_per_token(joules["decode"], told.output_tokens, level),
        unexplained_joules=unexplained,
        error_joules=error,
        reason=None,
    )


def _per_token(joules: Headline, tokens: float | None, level: float) -> Headline:
    return scaled(joules, 1 / tokens) if tokens else absent("no token to divide by", level, basis=joules.basis)


def _null(reason: str, served: Served) -> PhaseEnergy:
    none = absent(reason, served.confidence.level)
    return PhaseEnergy(dict.fromkeys(PHASES, none), none, none, reason=reason)


def _refused(told: PhaseEnergy, reason: str, served: Served) -> PhaseEnergy:
    none = _null(reason, served)
    return replace(
        told,
        joules=none.joules,
        joules_per_uncached_input_token=none.joules_per_uncached_input_token,
        joules_per_output_token=none.joules_per_output_token,
        reason=reason,
    )
