"""Our own engine as the driver sees it: turns go to a process that steps, tokens come back."""

from __future__ import annotations

import asyncio
import contextlib
from array import array
from pathlib import Path
from typing import Any

from bench.core.clock import Clock
from bench.core.errors import BenchError, EngineError, InputError
from bench.core.hub import model_folder
from bench.core.protocols import Capabilities, Handle, Sink, StepLog
from bench.core.records import Chunk, Counters, Startup, StepRow
from bench.core.sessions import TurnRequest
from bench.core.spec import DraftModelSpec, NativeEngineSpec
from bench.core.units import seconds_from_ns
from bench.engine.starting import Starting
from bench.engine.turns_in_flight import TurnInFlight, TurnsInFlight
from bench.engine.worker_process import WorkerProcess
from bench.native.messages import (
    Cancel,
    Command,
    EngineFailed,
    InputRefused,
    Load,
    Ready,
    Report,
    Rows,
    Stop,
    Submit,
    Update,
)
from bench.native.model_config import ModelConfig
from bench.native.settings import EngineSettings

_MOST_LOGPROBS = 20
_STOP_SECONDS = 5.0
"""Longest wait for the step in progress when stopping; after it the process is killed."""


class _StepLog:
    """Rows as the engine's process sends them."""

    def __init__(self) -> None:
        self._rows: list[StepRow] = []

    def extend(self, rows: list[StepRow]) -> None:
        self._rows += rows

    def take(self) -> list[StepRow]:
        rows, self._rows = self._rows, []
        return rows


def _settings(spec: NativeEngineSpec) -> EngineSettings:
    values = spec.model_dump(exclude={"kind"})
    if isinstance(spec.speculation, DraftModelSpec):
        values["speculation"]["model"] = str(model_folder(spec.speculation.model))
    return EngineSettings.of(values)


class NativeEngine:
    """Speaks the Engine protocol for `bench.native` in a process of its own."""

    def __init__(
        self, spec: NativeEngineSpec, model_folder: Path, *, clock: Clock, random_seed: int | None = None
    ) -> None:
        """With `random_seed` the weights are made from it, not read. Raises InputError for a config it cannot read."""
        self._settings = _settings(spec)
        self._model_folder = model_folder
        self._random_seed = random_seed
        self._clock = clock
        self._model_context_tokens = ModelConfig.from_folder(model_folder).max_positions
        self._process: WorkerProcess[Command, Report] | None = None
        self._starting: Starting[Ready] | None = None
        self._ready: Ready | None = None
        self._turns = TurnsInFlight[TurnInFlight](clock)
        self._counters = Counters()
        self._did: dict[str, Any] = {}
        self._lost: str | None = None
        self._stopping = False
        self.step_log = _StepLog()

    @property
    def capabilities(self) -> Capabilities:
        """The context is the model's until the KV pool is sized at start, and then what both hold."""
        return Capabilities(
            force_length=True,
            token_ids=True,
            cache_stats=True,
            step_log=True,
            logprobs=_MOST_LOGPROBS,
            max_context_tokens=self._ready.max_context_tokens if self._ready else self._model_context_tokens,
        )

    async def start(self) -> Startup:
        began_ns = self._clock.now_ns()
        self._starting = Starting()
        self._process = WorkerProcess("bench.native.worker", self._receive, self._on_exit)
        self._process.send(Load(str(self._model_folder), self._settings, self._random_seed))
        try:
            self._ready = await self._starting.ready()
        except BenchError:
            await self.stop()
            raise
        return Startup(
            total_s=seconds_from_ns(self._clock.now_ns() - began_ns),
            load_s=self._ready.load_s,
            compile_s=self._ready.compile_s,
            capture_s=self._ready.capture_s,
            accuracy_s=self._ready.accuracy_s,
            first_token_s=self._ready.first_token_s,
        )

    async def expect(self, turns: int) -> None:
        """Its memory was laid out at its start."""

    def prepare(self, request: TurnRequest) -> TurnRequest:
        return request

    async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
        """Raises EngineError when the engine's process is not there."""
        if self._process is None or not self._process.alive:
            raise EngineError(self._lost or "the engine has not been started")
        turn = TurnInFlight(self._turns.new_id(), request, sink, cached_tokens=0)
        self._process.send(
            Submit(
                id=turn.id,
                prompt_ids=array("i", request.prompt_ids),
                max_tokens=request.max_tokens,
                ignore_eos=request.ignore_eos,
                thinking_tokens=request.turn.thinking_tokens,
                sampling=request.sampling,
                thinking_budget=request.turn.thinking_budget,
                logprobs=request.logprobs,
                min_tokens=request.min_tokens,
            )
        )
        self._turns.add(turn)
        return turn

    async def cancel(self, handle: Handle) -> None:
        if self._process is None or not isinstance(handle, TurnInFlight):
            return
        if self._turns.finish(handle.id, "cancelled"):
            with contextlib.suppress(EngineError):
                self._process.send(Cancel(handle.id))

    async def end_session(self, session_id: str) -> None:
        """Nothing is kept between turns. Raises EngineError when the engine was lost in the session's last one."""
        del session_id
        if self._lost is not None and not self._stopping:
            raise EngineError(self._lost)

    def counters(self) -> Counters:
        return self._counters

    def describe(self) -> dict[str, Any]:
        """What was resolved at start, and what came of it; empty before."""
        return {"kind": "native", **self._ready.description, "did": self._did} if self._ready else {}

    async def stop(self) -> StepLog:
        """Let the step in progress end, then the process; turns still open finish as cancelled."""
        process = self._process
        if process is not None and process.alive:
            self._stopping = True
            if self._ready is not None:
                with contextlib.suppress(EngineError, TimeoutError):
                    process.send(Stop())
                    await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            process.kill()
            await process.wait()
        return self.step_log

    def _receive(self, report: Report) -> None:
        assert self._starting is not None
        match report:
            case Update():
                self._deliver(report)
            case Rows(rows, did):
                self.step_log.extend(rows)
                self._did = did
            case Ready():
                self._starting.succeed(report)
            case InputRefused(what, where, allowed):
                self._starting.fail(InputError(what, where=where, allowed=allowed))
            case EngineFailed(line):
                self._starting.fail(EngineError(line))

    def _deliver(self, update: Update) -> None:
        now_ns = self._clock.now_ns()
        self._counters = update.counters
        for id, cached_tokens in update.begun:
            if (turn := self._turns.get(id)) is not None:
                turn.cached_tokens = cached_tokens
        for id, kind, token_ids, logprobs in update.tokens:
            if (turn := self._turns.get(id)) is not None:
                turn.sink.chunk(Chunk(now_ns, update.t_engine_ns, len(token_ids), kind, token_ids, logprobs=logprobs))
        for id, reason, error, cached_tokens in update.ended:
            self._turns.finish(id, reason, error, cached_tokens)

    def _on_exit(self, line: str) -> None:
        assert self._starting is not None
        self._lost = line
        self._starting.fail(EngineError(line))
        self._turns.end_with_process(line, asked=self._stopping)
