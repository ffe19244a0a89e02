"""The start of an engine, and what its answers are held to before anything is timed.

The native engine compares whole distributions by itself while it loads. Others are asked through the protocol that
every engine speaks, for the most likely tokens at each position of the same fixed texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.core.clock import Clock
from bench.core.protocols import Capabilities, Engine
from bench.core.records import Startup
from bench.core.spec import EndpointEngineSpec, ModelSpec, Spec
from bench.core.units import seconds_from_ns
from bench.core.vllm_spec import VllmProcessSpec
from bench.engine.probing import UntoldError, likely_after
from bench.engine.reference_process import NoReferenceError, ReferenceProcess

_MOST_LIKELY = 20
"""Tokens asked for at each position, where an engine tells so many."""
_PROBING_SECONDS = 300.0


async def start_checked(
    engine: Engine, spec: Spec, model: Path, *, clock: Clock, tell: Callable[[str], None]
) -> tuple[Startup, dict[str, Any] | None]:
    """Start `engine`; `tell` hears what is done.

    Returns its start, which includes the check, and what the check found: the `figures`, or the `reason` why there are
    none, in plain values. None of that for an engine that is not checked from outside. The reference is computed before
    the engine takes its memory, and nothing of it is left afterwards. Raises what `Engine.start` does.
    """
    if not isinstance(spec.engine, VllmProcessSpec | EndpointEngineSpec):
        return await _start(engine, tell), None
    if (reason := _unchecked(spec.model, spec.engine, engine.capabilities)) is not None:
        return await _start(engine, tell), {"reason": reason}
    began_ns = clock.now_ns()
    tell("computing a reference of the model")
    reference = ReferenceProcess(model)
    try:
        try:
            probes = await reference.probes()
        except NoReferenceError as error:
            return await _start(engine, tell), {"reason": f"no reference: {error}"}
        made_ns = clock.now_ns()
        startup = await _start(engine, tell)
        started_ns = clock.now_ns()
        tell("holding the engine to its reference")
        checked = await _checked(engine, reference, probes)
    finally:
        await reference.close()
    seconds = seconds_from_ns(made_ns - began_ns + clock.now_ns() - started_ns)
    return replace(startup, total_s=startup.total_s + seconds, accuracy_s=seconds), checked


async def _start(engine: Engine, tell: Callable[[str], None]) -> Startup:
    tell("starting the engine")
    return await engine.start()


async def _checked(engine: Engine, reference: ReferenceProcess, probes: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    can = engine.capabilities
    beginnings = [probe[: can.max_context_tokens - 1] for probe in probes]
    try:
        told = await likely_after(engine, beginnings, most=min(_MOST_LIKELY, can.logprobs), timeout_s=_PROBING_SECONDS)
        return {"figures": asdict(await reference.figures(told))}
    except (UntoldError, NoReferenceError) as error:
        return {"reason": str(error)}


def _unchecked(model: ModelSpec, engine: VllmProcessSpec | EndpointEngineSpec, can: Capabilities) -> str | None:
    """Why the answers are not checked; None where they are to be."""
    if model.random_seed is not None:
        return "random weights"
    if not engine.check_accuracy:
        return "engine.check_accuracy is off"
    if can.prompt != "tokens":
        return "the engine is not asked in tokens"
    return None if can.logprobs > 0 else "the engine tells no log probabilities"
