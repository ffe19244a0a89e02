"""One case from start to end: what is asked, who answers, what was seen, what it means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from bench.accuracy import start_checked
from bench.client.open import open_client
from bench.core.clock import Clock, RealClock
from bench.core.digest import model_digest
from bench.core.endpoint_spec import HttpClientSpec
from bench.core.errors import InputError
from bench.core.hub import model_folder
from bench.core.interrupt import one_interrupt
from bench.core.protocols import Engine, Watch
from bench.core.records import TurnRow
from bench.core.sessions import Session
from bench.core.spec import Case, DraftModelSpec, EndpointEngineSpec, NativeEngineSpec, Spec
from bench.core.suite import Suite
from bench.core.tokenizer import token_counter
from bench.core.vllm_spec import VllmProcessSpec
from bench.engine.build import build_engine
from bench.engine.http.askable import refuse_unaskable
from bench.engine.vllm_install import refuse_missing_vllm
from bench.engine.vllm_limits import refuse_unheeded_budget
from bench.load.driver import Driver
from bench.load.share import Share, whole_load
from bench.node.power import refuse_unaskable_meters
from bench.recording import Recording
from bench.results.result import Result
from bench.workload.prompts import PromptSynthesizer
from bench.workload.wordless import wordless
from bench.workload.workload import Workload, build_workload


@dataclass(frozen=True)
class Prepared:
    """A case with everything it needs from disk, read before any engine starts."""

    case: Case
    model: Path
    workload: Workload
    share: Share
    """All of its load."""


def run_suite(suite: Suite, out: Path, *, watch: Watch, command: Sequence[str]) -> list[Result]:
    """Run every spec of `suite`, in rounds until each ran as often as it asks, and return the results in that order.

    Raises KeyboardInterrupt when the user stops it and EngineError when an engine fails: the result of the case that
    was running is finished with what it had, and earlier results are untouched. Raises InputError for what cannot run,
    before anything does unless only an engine can tell.
    """
    prepared = []
    for index, spec in enumerate(suite.specs, start=1):
        watch.case(spec.name, index, len(suite.specs))
        prepared.append(prepare(spec, watch.phase))
    # In rounds, so that a machine that grows slower meanwhile does so for every case.
    rounds = range(max(one.case.spec.measure.repeats for one in prepared))
    runs = [one for done in rounds for one in prepared if done < one.case.spec.measure.repeats]
    results = []
    for index, one in enumerate(runs, start=1):
        watch.case(one.case.spec.name, index, len(runs))
        results.append(run_one(one, out, watch=watch, command=command))
    return results


def run_one(prepared: Prepared, out: Path, *, watch: Watch, command: Sequence[str]) -> Result:
    """Measure one case on an event loop of its own. Raises what `run_suite` does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run_case(prepared, out, watch=watch, command=command))


def prepare(spec: Spec, tell: Callable[[str], None] = lambda _: None) -> Prepared:
    """Read the model's configuration and the workload of `spec`, and fetch from the hub what only it has.

    `tell` hears how far that is. Raises InputError where one cannot be run, EngineError where one cannot be fetched
    or vLLM is not there.
    """
    refuse_unaskable_meters(spec.power)
    seed = spec.model.random_seed
    # An endpoint has weights of its own; the folder here is for its tokenizer.
    weights = seed is None and not isinstance(spec.engine, EndpointEngineSpec)
    checked = seed is None and isinstance(spec.engine, EndpointEngineSpec) and spec.engine.check_accuracy
    model = model_folder(spec.model.path, weights=weights or checked, tell=tell)
    draft_model_digest = _draft_model_digest(spec, tell)
    can = build_engine(spec.engine, model, clock=RealClock(), random_seed=seed).capabilities
    workload = build_workload(spec.workload, can.max_context_tokens, token_counter(model))
    if workload.has_pictures and not can.images:
        raise InputError(
            "the workload has images, which this engine does not take",
            where=spec.name,
            allowed="engine: {kind: endpoint, api: chat, ...}",
        )
    if isinstance(spec.engine, HttpClientSpec):
        refuse_unaskable(spec.engine, spec.workload, spec.name)
    if isinstance(spec.engine, VllmProcessSpec):
        refuse_unheeded_budget(spec.engine, spec.workload, spec.name)
        refuse_missing_vllm(spec.engine)  # before the cases that come first take their minutes
    share = whole_load(spec, workload.sessions)
    case = Case.of(
        spec,
        model_digest=model_digest(model, seed, weights=weights),
        workload_digest=workload.digest,
        draft_model_digest=draft_model_digest,
        model_form_digest=model_digest(model, weights=False),
    )
    return Prepared(case, model, workload, share)


def _draft_model_digest(spec: Spec, tell: Callable[[str], None]) -> str | None:
    speculation = spec.engine.speculation if isinstance(spec.engine, NativeEngineSpec) else None
    if not isinstance(speculation, DraftModelSpec):
        return None
    return model_digest(model_folder(speculation.model, tell=tell))


async def run_case(prepared: Prepared, out: Path, *, watch: Watch, command: Sequence[str]) -> Result:
    """Measure one case and write its result folder below `out`."""
    case, clock = prepared.case, RealClock()
    spec, source = case.spec, prepared.workload.source
    engine = build_engine(spec.engine, prepared.model, clock=clock, random_seed=spec.model.random_seed)
    async with (
        one_interrupt(),
        Recording(
            case, source, engine, out, clock=clock, watch=watch, command=command, model=prepared.model
        ) as recording,
    ):
        prompts = prompts_of(prepared, engine, recording.id)
        recording.startup, recording.accuracy = await start_checked(
            engine, spec, prepared.model, clock=clock, tell=watch.phase
        )
        await measure(prepared, engine, prompts, recording, clock=clock, watch=watch, log=recording.turn)
    return recording.result


def prompts_of(prepared: Prepared, engine: Engine, run: str) -> PromptSynthesizer:
    """What the run of that id asks `engine`. Raises InputError where it cannot be asked so."""
    can, framing = engine.capabilities, prepared.case.spec.workload.length_mode == "free"
    # The salt is the run's own: no prefix cache can know a prompt from an earlier run, nor from the warm-up.
    return PromptSynthesizer(prepared.model, run, framing, can.prompt, can.images)


async def measure(
    prepared: Prepared,
    engine: Engine,
    prompts: PromptSynthesizer,
    recording: Recording,
    *,
    clock: Clock,
    watch: Watch,
    log: Callable[[TurnRow], None],
) -> None:
    """Warm `engine` up, which is started, and send it the case; `log` hears of every turn."""
    spec, workload = prepared.case.spec, prepared.workload
    before = prompts.salted(f"{recording.id}/warm-up")
    await recording.read_idle()
    watch.phase("warming up")
    warm_up = Driver(engine, clock, before, log, spec, warmup=True)
    await warm_up.drive(opening_turns(workload.sessions[: spec.measure.warmup_sessions]))
    async with open_client(
        spec, prepared.share, engine, prompts, log, clock=clock, model=prepared.model, salt=recording.id
    ) as client:
        watch.phase("measuring")
        async with recording.measuring(client):
            await client.drive()


def opening_turns(sessions: Iterable[Session]) -> list[Session]:
    """Each session up to its first delay: enough to warm an engine without waiting for tools.

    In drawn words: its own, once in a prefix cache, would be found there when they are measured.
    """
    opening = (replace(session, turns=tuple(turn for turn in session.turns if not turn.after)) for session in sessions)
    return [wordless(session) for session in opening]
