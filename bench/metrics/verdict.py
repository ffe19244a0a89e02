"""Whether a run's numbers may be ranked: typed reasons, each with its evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from bench.core.spec import Spec
from bench.core.units import seconds_from_ns
from bench.metrics import latency
from bench.metrics.columns import Flags, TurnColumns
from bench.metrics.context import RunContext
from bench.metrics.energy import Energy
from bench.metrics.health import Health
from bench.metrics.health_verdict import health_notes, health_reasons
from bench.metrics.percentiles import needed, rank_name
from bench.metrics.reason import Reason
from bench.metrics.requests import prompt_tokens_by_engine
from bench.metrics.scope_energy import NOTED_DISAGREEMENT
from bench.metrics.steady_state import NoWindow, Window, is_stationary

FAILED_SHARE = 0.001
"""More failures than one in a thousand flatter what is left."""
PROMPT_DISAGREEMENT = 0.01
"""Relative difference of the engine's count of prompt tokens and ours above which it is noted."""
LATE_SHARE, LATE_MS = 0.1, 10.0
"""A client is late when its mean schedule lag is above both this share of the mean TTFT and this time."""

BUSY_SHARE = 0.9
"""CPU share of one core above which a client is saturated: work that arrives at random then waits 4.5 times as long as
it takes (Pollaczek and Khinchine, equal pieces of work: 0.9 / (2 · 0.1))."""
LAG_P99_MS = 50.0
"""Lag of the client's event loop above which it is saturated: what a mean lag of LATE_MS comes to at p99 where lags are
exponential, and a tenth of the tightest TTFT bound that MLPerf publishes."""
LAG_TOLD_S = 3.0
"""A shorter run looks at the lag too seldom, once in 10 ms, to tell its p99 from one hiccup of the machine."""


@dataclass(frozen=True)
class Verdict:
    status: Literal["valid", "invalid"]
    reasons: tuple[Reason, ...]
    """Why the record is invalid; each alone suffices."""
    notes: tuple[Reason, ...]


def verdict(
    turns: TurnColumns,
    counted: Flags,
    window: Window | NoWindow,
    energy: Energy,
    health: Health | None,
    spec: Spec,
    context: RunContext,
) -> Verdict:
    """The verdict on a run whose latencies are those of the turns `counted`."""
    checks = [
        _stopped(context),
        _no_window(window),
        _too_few(int(counted.sum()), spec.measure.percentiles, spec.measure.level),
        _failures(turns),
        _output_short(turns) if spec.workload.length_mode == "pinned" else None,
        _cache_contamination(turns),
        _client_late(turns, counted),
        _client_saturated(context),
        _inaccurate(context),
    ]
    reasons = (
        *(reason for reason in checks if reason is not None),
        *health_reasons(health, window, spec, context.health),
    )
    notes = (
        *_energy_notes(energy),
        *_load_notes(spec, context),
        *_prompt_notes(turns),
        *health_notes(health, window, spec, context.health),
    )
    return Verdict("invalid" if reasons else "valid", reasons, notes)


def _stopped(context: RunContext) -> Reason | None:
    if context.stopped is None:
        return None
    because = f": {context.stopped_because}" if context.stopped_because else ""
    return Reason(context.stopped, f"the run was stopped before its end{because}", {})


def _no_window(window: Window | NoWindow) -> Reason | None:
    if isinstance(window, Window):
        return None
    return Reason("no_steady_window", f"no steady window: {window.reason}", {})


def _too_few(n: int, ranks: Sequence[float], level: float) -> Reason | None:
    highest = max(ranks, key=lambda p: needed(p, level), default=None)
    if highest is None or n >= needed(highest, level):
        return None
    needs = needed(highest, level)
    message = f"{rank_name(highest)} needs {needs} requests in the steady window, there are {n}"
    return Reason("too_few_requests", message, {"rank": highest, "needed": needs, "counted": n})


def _failures(turns: TurnColumns) -> Reason | None:
    failed = int(turns.failed.sum())
    if failed <= FAILED_SHARE * len(turns):
        return None
    first = turns.error[int(turns.failed.argmax())]
    message = f"{failed} of {len(turns)} requests failed, the first in the log with {first}"
    return Reason("failures", message, {"failed": failed, "sent": len(turns)})


def _output_short(turns: TurnColumns) -> Reason | None:
    missing = (turns.asked_output_tokens - turns.output_tokens)[turns.ok]
    short = int((missing > 0).sum())
    if short == 0:
        return None
    message = f"{short} of {len(missing)} outputs were shorter than their pinned length"
    return Reason("output_short", message, {"turns": short, "tokens_missing": int(missing[missing > 0].sum())})


def _cache_contamination(turns: TurnColumns) -> Reason | None:
    excess = np.nan_to_num(turns.cached_tokens) - turns.shared_tokens
    found = int((excess > 0).sum())
    if found == 0:
        return None
    message = f"{found} prompts were served from the prefix cache beyond what they share with this run"
    return Reason("cache_contamination", message, {"turns": found, "tokens": int(excess[excess > 0].sum())})


def _client_late(turns: TurnColumns, counted: Flags) -> Reason | None:
    if not counted.any():
        return None
    lag_ms = float(latency.schedule_lag_ms(turns)[counted].mean())
    ttft_ms = float(latency.ttft_ms(turns, open_loop=False)[counted].mean())
    if lag_ms <= max(LATE_MS, LATE_SHARE * ttft_ms):
        return None
    message = f"the client sent {lag_ms:.1f} ms late on average"
    return Reason("client_late", message, {"mean_schedule_lag_ms": lag_ms, "mean_ttft_ms": ttft_ms})


def _client_saturated(context: RunContext) -> Reason | None:
    client = context.client
    if client is None:
        return None
    told = []
    if client.cpu_share > BUSY_SHARE:
        told.append(f"took {client.cpu_share:.0%} of a core")
    if client.lag_p99_ms > LAG_P99_MS and seconds_from_ns(context.end_ns - context.start_ns) >= LAG_TOLD_S:
        told.append(f"ran a hundredth of its work over {client.lag_p99_ms:.0f} ms late")
    if not told:
        return None
    message = f"the client was the bottleneck: {' and '.join(told)}"
    return Reason("client_saturated", message, asdict(client))


def _inaccurate(context: RunContext) -> Reason | None:
    if context.accuracy_failure is None:
        return None
    return Reason("accuracy", f"the answers are not the model's: {context.accuracy_failure}", {})


def _energy_notes(energy: Energy) -> Iterator[Reason]:
    for scope, rung in energy.rungs.items():
        ratio = rung.counter_over_integral
        evidence: dict[str, float | str] = {"scope": scope}
        if ratio is not None:
            evidence["counter_over_integral"] = ratio
        if rung.reason is not None:
            yield Reason("power_null", f"energy of scope {scope} is null: {rung.reason}", evidence)
        elif ratio is not None and abs(ratio - 1) > NOTED_DISAGREEMENT:
            message = f"energy counter and integral of scope {scope} differ by {abs(ratio - 1):.0%}"
            yield Reason("power_disagrees", message, evidence)


def _load_notes(spec: Spec, context: RunContext) -> Iterator[Reason]:
    if context.cut_sessions is None:
        consequence = "session and job times are left out"
    else:
        consequence = "the sessions they are of are left out of session and job times, which favours short ones"
    for why, turns in Counter(context.not_sent).items():
        yield Reason("turns_not_sent", f"{turns} turns were not sent, so {consequence}: {why}", {"turns": turns})
    if not is_stationary(spec.load):
        message = "the rate of arrivals was not one throughout, so the numbers are those of no single load"
        yield Reason("load_not_stationary", message, {"kind": spec.load.kind})


def _prompt_notes(turns: TurnColumns) -> Iterator[Reason]:
    ours, theirs = prompt_tokens_by_engine(turns)
    if theirs is None or abs(theirs - ours) <= PROMPT_DISAGREEMENT * ours:
        return
    message = f"the engine counted {theirs:,} prompt tokens where {ours:,} were sent"
    yield Reason("prompt_tokens_disagree", message, {"sent": ours, "engine": theirs})
