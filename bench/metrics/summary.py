"""From the tables of a run to the sections of its record: the one path to every headline, run or verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.core.records import Basis
from bench.core.spec import Case, Spec
from bench.core.units import ns_from_seconds, seconds_from_ns
from bench.metrics import latency
from bench.metrics.columns import Flags, TurnColumns
from bench.metrics.context import RunContext
from bench.metrics.efforts import efforts_section
from bench.metrics.energy import Energy, energy
from bench.metrics.goodput import good_share, good_turns, goodput, meets
from bench.metrics.health import Health, health_of
from bench.metrics.percentiles import Distribution, Sample, distribution
from bench.metrics.phase_work import PhaseWork
from bench.metrics.power_readings import devices_of
from bench.metrics.requests import requests_section
from bench.metrics.roofline import StepColumns, roofline
from bench.metrics.rung import Served
from bench.metrics.sessions import sessions_section
from bench.metrics.statistics import Confidence
from bench.metrics.steady_state import NoWindow, Window, is_stationary, steady_window
from bench.metrics.success import correct_answers, success_section
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
    sessions: dict[str, Any] | None
    efforts: dict[str, Any] | None
    """None where fewer than two effort levels were asked for."""
    success: dict[str, Any] | None
    """None where no answer was checked."""
    energy: Energy
    roofline: dict[str, Any] | None
    health: Health | None
    """None where it was not watched throughout the run."""
    verdict: Verdict

    def sections(self) -> dict[str, Any]:
        """The sections as plain values, ready for JSON."""
        return asdict(self)


def summarise(case: Case, context: RunContext, *, turns: Any, power: Any, steps: Any, health: Any = None) -> Summary:
    """Sections of the record of a run of `case`, from its tables (`pyarrow.Table`); `health` may be missing.

    Latencies are those of turns sent in the steady window (in an open loop: due in it, however late they were sent)
    that completed, whenever they did; rates count what happened in it. Deterministic: the same tables give the same
    numbers, intervals included.
    """
    spec = case.spec
    columns, counted, window = counted_turns(spec, context, turns)
    if isinstance(window, NoWindow):
        steady = _Steady(Energy(missing=f"no steady window: {window.reason}"))
    else:
        steady = _steady(columns, counted, window, spec, context, power=power, steps=steps)
    machine = None if health is None else health_of(health, columns, window, spec.load, context)
    return Summary(
        window=_window_section(window, spec, context),
        requests=requests_section(columns, counted, window, spec, context),
        latency=steady.latency,
        throughput=steady.throughput,
        goodput=steady.goodput,
        sessions=steady.sessions,
        efforts=steady.efforts,
        success=steady.success,
        energy=steady.energy,
        roofline=steady.roofline,
        health=machine,
        verdict=verdict(columns, counted, window, steady.energy, machine, spec, context),
    )


def counted_turns(spec: Spec, context: RunContext, turns: Any) -> tuple[TurnColumns, Flags, Window | NoWindow]:
    """The columns of a `turns` table, which of its turns the latencies are of, and the steady window."""
    columns = TurnColumns.of(turns, start_ns=context.start_ns, cut_sessions=context.cut_sessions or ())
    window = steady_window(columns, spec.load, stop_ns=_stop_ns(spec, context))
    if isinstance(window, NoWindow):
        return columns, np.zeros(len(columns), dtype=np.bool_), window
    return columns, columns.ok & window.holds(latency.origin(columns, spec.load.open_loop)), window


@dataclass(frozen=True)
class _Steady:
    """What is said of the steady window."""

    energy: Energy
    latency: dict[str, Any] | None = None
    throughput: dict[str, Any] | None = None
    goodput: dict[str, Any] | None = None
    sessions: dict[str, Any] | None = None
    efforts: dict[str, Any] | None = None
    success: dict[str, Any] | None = None
    roofline: dict[str, Any] | None = None


def _steady(
    turns: TurnColumns, counted: Flags, window: Window, spec: Spec, context: RunContext, *, power: Any, steps: Any
) -> _Steady:
    confidence = Confidence(spec.measure.level, spec.measure.seed)
    sessions = _whole_sessions(turns, window, context)
    distributions = _distributions(turns, counted, sessions, spec, confidence)
    per_token = Sample.of(latency.e2e_ms_per_token(turns, open_loop=spec.load.open_loop)[counted])
    tokens = token_slices(turns, window)
    correct = correct_answers(turns, window)
    devices = devices_of(power, start_ns=context.start_ns, run_ns=context.end_ns - context.start_ns)
    work = PhaseWork.of(steps, turns, start_ns=context.start_ns)
    return _Steady(
        latency={name: _latency_section(name, of, spec) for name, of in distributions.items()},
        throughput={
            **rates(tokens, confidence, accelerators=context.accelerators),
            "interactivity_tokens_per_s": interactivity(distributions["tpot_ms"]),
            "e2e_interactivity_tokens_per_s": interactivity(
                distribution(per_token, spec.measure.percentiles, confidence)
            ),
        },
        goodput=_goodput_section(turns, tokens, window, spec, confidence),
        sessions=sessions_section(turns, sessions, window, confidence),
        efforts=efforts_section(
            turns,
            counted,
            spec.measure.percentiles,
            confidence,
            open_loop=spec.load.open_loop,
            ttfa_basis=_ttfa_basis(spec),
        ),
        success=None if correct is None else success_section(turns, counted, correct, tokens, confidence),
        energy=energy(devices, Served(window, tokens, correct, confidence), spec.power, context, work),
        roofline=_roofline_section(steps, window, context, confidence),
    )


def _stop_ns(spec: Spec, context: RunContext) -> float:
    """When the client stopped sending, from the run's start."""
    run_ns = float(context.end_ns - context.start_ns)
    limit_s = spec.measure.max_seconds
    return run_ns if limit_s is None else min(run_ns, float(ns_from_seconds(limit_s)))


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
    if open_loop:
        samples["ttft_from_send_ms"] = Sample.of(latency.ttft_ms(turns, open_loop=False)[counted])
    return {
        name: distribution(
            sample,
            spec.measure.percentiles,
            confidence,
            basis=_ttfa_basis(spec) if name == "ttfa_ms" else "measured",
        )
        for name, sample in samples.items()
    }


def _ttfa_basis(spec: Spec) -> Basis:
    return "declared" if spec.workload.length_mode == "pinned" else "measured"


def _whole_sessions(turns: TurnColumns, window: Window, context: RunContext) -> list[int]:
    """Sessions first due in the window of which every turn was sent and completed."""
    if context.not_sent and context.cut_sessions is None:
        return []  # any session in the log may be the beginning of a longer one
    begin, _ = latency.session_spans(turns)
    broken = np.bincount(turns.session, weights=~turns.ok, minlength=turns.sessions) > 0
    return [int(session) for session in np.flatnonzero(window.holds(begin) & turns.whole & ~broken)]


def _latency_section(name: str, times: Distribution, spec: Spec) -> dict[str, Any]:
    section = {"unit": "ms", "n": times.n, "undefined": times.undefined, **times.headlines}
    if name == "ttfa_ms":
        section["answer_start"] = "declared" if spec.workload.length_mode == "pinned" else "observed"
    return section


def _goodput_section(
    turns: TurnColumns, tokens: TokenSlices, window: Window, spec: Spec, confidence: Confidence
) -> dict[str, Any]:
    good = good_turns(turns, spec.slo, open_loop=spec.load.open_loop)
    share = good_share(turns, good, window, confidence.level, open_loop=spec.load.open_loop)
    return {
        "slo": spec.slo.model_dump(),
        "good_share": share,
        "meets_slo": meets(share, spec.slo),
        **goodput(turns, good, tokens, window, confidence),
    }


def _roofline_section(steps: Any, window: Window, context: RunContext, confidence: Confidence) -> dict[str, Any] | None:
    """None where the engine does not say what its steps did, or what they had to."""
    if context.work is None or len(steps) == 0:
        return None
    columns = StepColumns.of(steps, context.work, window, start_ns=context.start_ns)
    return roofline(columns, window, context.ceilings, context.accelerators, confidence)


def _window_section(window: Window | NoWindow, spec: Spec, context: RunContext) -> dict[str, Any]:
    """Where the steady window lies, from the run's start; ramp before it, drain after it."""
    stationary = is_stationary(spec.load)
    if isinstance(window, NoWindow):
        return {"steady": None, "ramp_s": None, "drain_s": None, "stationary": stationary, "reason": window.reason}
    run_ns = context.end_ns - context.start_ns
    return {
        "steady": {
            "start_s": seconds_from_ns(window.start_ns),
            "end_s": seconds_from_ns(window.end_ns),
            "seconds": window.seconds,
        },
        "ramp_s": seconds_from_ns(window.start_ns),
        "drain_s": seconds_from_ns(run_ns - window.end_ns),
        "stationary": stationary,
        "reason": None,
    }
