"""vLLM in a process of ours as the driver sees it: turns go to its AsyncLLM, tokens come back."""

from __future__ import annotations

import asyncio
import contextlib
import re
from array import array
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.core.clock import Clock
from bench.core.errors import BenchError, EngineError, InputError
from bench.core.module_process import start_script
from bench.core.protocols import Capabilities, Handle, Sink, StepLog
from bench.core.pseudonym import pseudonym
from bench.core.records import Counters, Startup
from bench.core.sessions import TurnRequest
from bench.core.spec import VllmEngineSpec
from bench.core.units import seconds_from_ns
from bench.engine.log_tail import told_cause
from bench.engine.starting import Starting
from bench.engine.turns_in_flight import TurnsInFlight
from bench.engine.vllm_install import interpreter, vllm_environment, vllm_version
from bench.engine.vllm_limits import asked_context_tokens
from bench.engine.vllm_process import run as script
from bench.engine.vllm_process.messages import (
    Cancel,
    Command,
    CountFromHere,
    Did,
    Failed,
    Ready,
    Refused,
    Report,
    Start,
    Stop,
    Submit,
    Update,
)
from bench.engine.vllm_start_log import start_phases
from bench.engine.vllm_turn import VllmTurn
from bench.engine.worker_process import WorkerProcess
from bench.native.thinking import ThinkTags, marks_in

_STOP_SECONDS = 15.0
"""Longest wait for vLLM to shut down; after it every process of it is killed."""
_MAX_LOGPROBS = 20
"""vLLM's own default of `max_logprobs`."""
_ATTENTION = re.compile(r"Using (\w+) attention backend")
"""In vLLM's log: where none was asked for, its configuration does not say which it took."""


class VllmEngine:
    """Speaks the Engine protocol for vLLM's AsyncLLM, under the interpreter that has it.

    A turn that vLLM does not take fails as empty_request, context_exceeded, unknown_token or refused; as engine_error
    where vLLM fails at it and goes on; as engine_lost where vLLM ends.
    """

    step_log: StepLog | None = None

    def __init__(
        self, spec: VllmEngineSpec, model_folder: Path, *, clock: Clock, random_seed: int | None = None
    ) -> None:
        """With `random_seed` vLLM makes up weights, by a seed of its own, and reads none.

        Raises InputError for an interpreter that is none and for a model folder without a configuration.
        """
        self._spec = spec
        self._python = interpreter(spec.python)
        self._model_folder = model_folder
        self._random_weights = random_seed is not None
        self._clock = clock
        self._marks = marks_in(model_folder)
        self._asked_context_tokens = asked_context_tokens(spec.arguments, model_folder)
        self._process: WorkerProcess[Command, Report] | None = None
        self._starting: Starting[Ready] | None = None
        self._ready: Ready | None = None
        self._turns = TurnsInFlight[VllmTurn](clock)
        self._counters = Counters()
        self._attention_backend: str | None = None
        self._did: dict[str, Any] = {}
        self._lost: str | None = None
        self._stopping = False

    @property
    def capabilities(self) -> Capabilities:
        """The context is what the arguments say, or the model, until vLLM has started, and then what it serves."""
        ready = self._ready
        asked_logprobs = self._spec.arguments.get("max_logprobs", _MAX_LOGPROBS)
        return Capabilities(
            force_length=True,
            token_ids=True,
            cache_stats=True,
            step_log=False,
            max_context_tokens=ready.max_context_tokens if ready else self._asked_context_tokens,
            logprobs=ready.max_logprobs if ready else asked_logprobs,
        )

    async def start(self) -> Startup:
        """Raises EngineError where vLLM is not there, too old or does not start, InputError for its arguments."""
        began_ns = self._clock.now_ns()
        environment = vllm_environment(self._python, self._spec.environment)
        await asyncio.to_thread(vllm_version, self._python, environment)
        self._starting = Starting()
        self._process = WorkerProcess(
            partial(start_script, self._python, script.__file__, environment),
            self._receive,
            self._on_exit,
            "vLLM",
            told_cause,
        )
        try:
            with contextlib.suppress(EngineError):  # how it ended is told below
                self._process.send(Start(str(self._model_folder), self._random_weights, self._spec.arguments))
            async with asyncio.timeout(self._spec.start_timeout_s):
                self._ready = await self._starting.ready()
        except TimeoutError:
            last = told_cause(self._process.printed())
            await self.stop()
            raise EngineError(
                f"vLLM was not ready within {self._spec.start_timeout_s:g} s{f': {last}' if last else ''}"
            ) from None
        except BenchError:
            await self.stop()
            raise
        log = self._process.printed()
        if found := _ATTENTION.search(log):
            self._attention_backend = found[1]
        phases = start_phases(log)
        return Startup(
            total_s=seconds_from_ns(self._clock.now_ns() - began_ns),
            load_s=phases.load_s,
            compile_s=phases.compile_s,
            capture_s=phases.capture_s,
            first_token_s=self._ready.first_token_s,
        )

    async def expect(self, turns: int) -> None:
        """Its memory was laid out at its start. What it did before, as in a warm-up, is no part of what it tells."""
        del turns
        if self._process is not None:
            with contextlib.suppress(EngineError):  # the next turn hears of it
                self._process.send(CountFromHere())

    def prepare(self, request: TurnRequest) -> TurnRequest:
        return request

    async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
        """Raises EngineError when vLLM is not there."""
        if self._process is None or not self._process.alive:
            raise EngineError(self._lost or "the engine has not been started")
        turn = VllmTurn(self._turns.new_id(), request, sink, self._marks)
        self._process.send(
            Submit(
                id=turn.id,
                prompt_ids=array("i", request.prompt_ids),
                max_tokens=request.max_tokens,
                ignore_eos=request.ignore_eos,
                sampling=request.sampling,
                thinking_budget=self._budget(request),
                logprobs=request.logprobs,
            )
        )
        self._turns.add(turn)
        return turn

    async def cancel(self, handle: Handle) -> None:
        if isinstance(handle, VllmTurn) and self._process is not None and self._turns.finish(handle.id, "cancelled"):
            with contextlib.suppress(EngineError):
                self._process.send(Cancel(handle.id))

    async def end_session(self, session_id: str) -> None:
        """Nothing is kept between turns. Raises EngineError when vLLM was lost in the session's last one."""
        del session_id
        if self._lost is not None and not self._stopping:
            raise EngineError(self._lost)

    def counters(self) -> Counters:
        # vLLM tells what it has when it hands tokens over: of requests that were cancelled since it says nothing.
        return replace(self._counters, running=min(self._counters.running, len(self._turns)))

    def describe(self) -> dict[str, Any]:
        """What vLLM resolved at start, and what it counted since it last was to expect turns; empty before."""
        if self._ready is None:
            return {}
        described = {"kind": "vllm", **self._ready.description, "did": self._did}
        if self._attention_backend is not None:
            described["attention_backend"] = self._attention_backend
        if self._ready.gpu_uuids is not None:
            described["accelerator_ids"] = [pseudonym(uuid) for uuid in self._ready.gpu_uuids]
        return described

    async def stop(self) -> None:
        """Let vLLM shut down, then end every process of it; turns still open finish as cancelled."""
        process = self._process
        if process is None:
            return
        if process.alive:
            self._stopping = True
            if self._ready is not None:
                with contextlib.suppress(EngineError, TimeoutError):
                    process.send(Stop())
                    await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            process.kill()
        await process.wait()

    def _budget(self, request: TurnRequest) -> int | None:
        """Without the tag that ends the thinking: vLLM does not count it."""
        budget = request.turn.thinking_budget
        if budget is None or not isinstance(self._marks, ThinkTags) or self._marks.closing is None:
            return budget
        return max(0, budget - 1)

    def _receive(self, report: Report) -> None:
        assert self._starting is not None
        match report:
            case Update():
                self._deliver(report)
            case Did(did):
                self._did = did
            case Ready():
                self._starting.succeed(report)
            case Refused(what, where, allowed):
                self._starting.fail(InputError(what, where=where, allowed=allowed))
            case Failed(line):
                self._starting.fail(EngineError(line))

    def _deliver(self, update: Update) -> None:
        now_ns = self._clock.now_ns()
        self._counters = update.counters
        for id, token_ids, logprobs in update.tokens:
            if (turn := self._turns.get(id)) is not None:
                for chunk in turn.chunks(now_ns, update.t_engine_ns, token_ids, logprobs):
                    turn.sink.chunk(chunk)
        for id, reason, error, cached_tokens in update.ended:
            self._turns.finish(id, reason, error, cached_tokens)

    def _on_exit(self, line: str) -> None:
        assert self._starting is not None
        self._lost = line
        self._starting.fail(EngineError(line))
        self._turns.end_with_process(line, asked=self._stopping)
