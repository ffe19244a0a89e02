"""From the tables of a run to the sections of its record: the one path to every headline, run or verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.core.spec import Case, Spec
from bench.core.units import seconds_from_ns
from bench.metrics import latency
from bench.metrics.columns import Flags, TurnColumns
from bench.metrics.context import RunContext
from bench.metrics.energy import Energy, energy
from bench.metrics.goodput import good_turns, goodput
from bench.metrics.percentiles import Distribution, Sample, distribution
from bench.metrics.power_readings import devices_of
from bench.metrics.roofline import StepColumns, roofline
from bench.metrics.statistics import Confidence
from bench.metrics.steady_state import NoWindow, Window, steady_window
from bench.metrics.throughput import TokenSlices, interactivity, rates, token_slices
from bench.metrics.verdict import Verdict, verdict


@dataclass(frozen=True)
class Summary:
    """The computed sections of a record, named as there. What needs a steady window is None without one."""

    window: dict[str, Any]
    requests: dict[str, Any]
    latency: dict[str, Any] | None
    throughput: dict[str, Any] | None
    goodput: dict[str, Any] | None
    energy: Energy
    roofline: dict[str, Any] | None
    verdict: Verdict

    def sections(self) -> dict[str, Any]:
        """The sections as plain values, ready for JSON."""
        return asdict(self)


def summarise(case: Case, context: RunContext, *, turns: Any, power: Any, steps: Any) -> Summary:
    """Sections of the record of a run of `case`, from its `turns`, `power` and `steps` tables (`pyarrow.Table`).

    Latencies are those of turns *sent* in the steady window that completed, whenever they did; rates count what
    happened in it. Deterministic: the same tables give the same numbers, intervals included.
    """
    spec = case.spec
    confidence = Confidence(spec.measure.level, spec.measure.seed)
    columns = TurnColumns.of(turns, start_ns=context.start_ns)
    window = steady_window(columns, spec.load)
    if isinstance(window, NoWindow):
        counted = np.zeros(len(columns), dtype=np.bool_)
        times, flows, good, roof = None, None, None, None
        energies = Energy(missing=f"no steady window: {window.reason}")
    else:
        counted = columns.ok & window.holds(columns.send)
        # Where turns were not sent, a session in the log may be the beginning of a longer one.
        sessions = [] if context.not_sent else _whole_sessions(columns, window)
        distributions = _distributions(columns, counted, sessions, spec, confidence)
        times = {name: _latency_section(name, of, spec) for name, of in distributions.items()}
        tokens = token_slices(columns, window)
        flows = {
            **rates(tokens, confidence, accelerators=context.accelerators),
            "interactivity_tokens_per_s": interactivity(distributions["tpot_ms"]),
        }
        good = _goodput_section(columns, tokens, window, spec, confidence)
        roof = _roofline_section(steps, window, context, confidence)
        energies = energy(
            devices_of(power, start_ns=context.start_ns),
            tokens,
            window,
            confidence,
            declared=spec.power,
            power_missing=context.power_missing,
        )
    return Summary(
        window=_window_section(window, context),
        requests=_requests_section(columns, counted, window, context),
        latency=times,
        throughput=flows,
        goodput=good,
        energy=energies,
        roofline=roof,
        verdict=verdict(columns, counted, window, energies, spec, context),
    )


def _distributions(
    turns: TurnColumns, counted: Flags, sessions: Sequence[int], spec: Spec, confidence: Confidence
) -> dict[str, Distribution]:
    open_loop = spec.load.open_loop
    samples = {
        "ttft_ms": Sample.of(latency.ttft_ms(turns, open_loop=open_loop)[counted]),
        "ttfa_ms": Sample.of(latency.ttfa_ms(turns, open_loop=open_loop)[counted]),
        "tpot_ms": Sample.of(latency.tpot_ms(turns)[counted]),
        "itl_ms": Sample.pooled(*latency.itl_ms(turns, counted), requests=int(counted.sum())),
        "e2e_ms": Sample.of(latency.e2e_ms(turns, open_loop=open_loop)[counted]),
        "session_ms": Sample.of(latency.session_ms(turns, sessions)),
        "job_ms": Sample.of(latency.job_ms(turns, sessions)),
        "schedule_lag_ms": Sample.of(latency.schedule_lag_ms(turns)[counted]),
        "hold_ms": Sample.of(latency.hold_ms(turns)[counted]),
    }
    return {
        name: distribution(
            sample,
            spec.measure.percentiles,
            confidence,
            basis="declared" if name == "ttfa_ms" and spec.workload.length_mode == "pinned" else "measured",
        )
        for name, sample in samples.items()
    }


def _whole_sessions(turns: TurnColumns, window: Window) -> list[int]:
    """Sessions first due in the window of which every turn that was sent completed."""
    begin, _ = latency.session_spans(turns)
    broken = np.bincount(turns.session, weights=~turns.ok, minlength=turns.sessions) > 0
    return [int(session) for session in np.flatnonzero(window.holds(begin) & ~broken)]


def _latency_section(name: str, times: Distribution, spec: Spec) -> dict[str, Any]:
    section = {"unit": "ms", "n": times.n, "undefined": times.undefined, **times.headlines}
    if name == "ttfa_ms":
        section["answer_start"] = "declared" if spec.workload.length_mode == "pinned" else "observed"
    return section


def _goodput_section(
    turns: TurnColumns, tokens: TokenSlices, window: Window, spec: Spec, confidence: Confidence
) -> dict[str, Any]:
    good = good_turns(turns, spec.slo, open_loop=spec.load.open_loop)
    return {"slo": spec.slo.model_dump(), **goodput(turns, good, tokens, window, confidence)}


def _roofline_section(steps: Any, window: Window, context: RunContext, confidence: Confidence) -> dict[str, Any] | None:
    """None where the engine does not say what its steps did, or what they had to."""
    if context.work is None or len(steps) == 0:
        return None
    columns = StepColumns.of(steps, context.work, window, start_ns=context.start_ns)
    return roofline(columns, window, context.ceilings, context.accelerators, confidence)


def _window_section(window: Window | NoWindow, context: RunContext) -> dict[str, Any]:
    """Where the steady window lies, from the run's start; ramp before it, drain after it."""
    if isinstance(window, NoWindow):
        return {"steady": None, "ramp_s": None, "drain_s": None, "reason": window.reason}
    run_ns = context.end_ns - context.start_ns
    return {
        "steady": {
            "start_s": seconds_from_ns(window.start_ns),
            "end_s": seconds_from_ns(window.end_ns),
            "seconds": window.seconds,
        },
        "ramp_s": seconds_from_ns(window.start_ns),
        "drain_s": seconds_from_ns(run_ns - window.end_ns),
        "reason": None,
    }


def _requests_section(
    turns: TurnColumns, counted: Flags, window: Window | NoWindow, context: RunContext
) -> dict[str, Any]:
    """What became of every turn. The times of those `counted` stand in `latency`; the rest is left out, by reason."""
    left_out = Counter({"warm-up": turns.warmup_turns, **context.not_sent})
    left_out["cancelled"] = int((~turns.ok & ~turns.failed).sum())
    if isinstance(window, Window):
        left_out["sent in the ramp"] = int((turns.ok & (turns.send < window.start_ns)).sum())
        left_out["sent in the drain"] = int((turns.ok & (turns.send >= window.end_ns)).sum())
    else:
        left_out["no steady window"] = int(turns.ok.sum())
    return {
        "sessions": turns.sessions,
        "sent": len(turns),
        "completed": int(turns.ok.sum()),
        "counted": int(counted.sum()),
        "failed": dict(Counter(_kind_of_failure(turns.error[row]) for row in np.flatnonzero(turns.failed))),
        "left_out": {reason: n for reason, n in left_out.items() if n},
        "tokens": {
            "prompt": int(turns.prompt_tokens.sum()),
            "output": int(turns.output_tokens.sum()),
            "thinking": int(turns.thinking_tokens.sum()),
            "cached": None if np.isnan(turns.cached_tokens).any() else int(turns.cached_tokens.sum()),
        },
    }


def _kind_of_failure(error: str | None) -> str:
    """What a failure is counted by: the part before the figures of the one request."""
    return (error or "no reason given").partition(": ")[0]
