"""An engine behind a server, whose turns are counted on their way."""

from __future__ import annotations

from typing import Any

from bench.core.clock import Clock
from bench.core.protocols import Capabilities, Engine, Handle, Sink, StepLog
from bench.core.records import Chunk, Counters, Finish, Startup
from bench.core.sessions import TurnRequest
from bench.core.units import seconds_from_ns
from bench.native.server.metrics import Metrics


class CountedEngine:
    """Speaks the Engine protocol for the engine it is given."""

    def __init__(self, engine: Engine, metrics: Metrics, clock: Clock) -> None:
        self._engine = engine
        self._metrics = metrics
        self._clock = clock

    @property
    def capabilities(self) -> Capabilities:
        return self._engine.capabilities

    @property
    def step_log(self) -> StepLog | None:
        return self._engine.step_log

    async def start(self) -> Startup:
        return await self._engine.start()

    async def expect(self, turns: int) -> None:
        await self._engine.expect(turns)

    def prepare(self, request: TurnRequest) -> TurnRequest:
        return self._engine.prepare(request)

    async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
        handle = await self._engine.submit(request, CountingSink(sink, self._metrics, self._clock.now_ns()))
        self._metrics.prompt_tokens.add(by=len(request.prompt_ids))
        return handle

    async def cancel(self, handle: Handle) -> None:
        await self._engine.cancel(handle)

    async def end_session(self, session_id: str) -> None:
        await self._engine.end_session(session_id)

    def counters(self) -> Counters:
        return self._engine.counters()

    def describe(self) -> dict[str, Any]:
        return self._engine.describe()

    async def stop(self) -> StepLog | None:
        return await self._engine.stop()


class CountingSink:
    """Passes on what it counts."""

    __slots__ = ("_asked_ns", "_first", "_metrics", "_sink")

    def __init__(self, sink: Sink, metrics: Metrics, asked_ns: int) -> None:
        self._sink = sink
        self._metrics = metrics
        self._asked_ns = asked_ns
        self._first = True

    def chunk(self, chunk: Chunk) -> None:
        if self._first:
            self._first = False
            self._metrics.first_token.observe(seconds_from_ns(chunk.t_ns - self._asked_ns))
        self._sink.chunk(chunk)

    def finish(self, finish: Finish) -> None:
        metrics = self._metrics
        metrics.generations.add(finish.reason)
        metrics.cached_tokens.add(by=finish.cached_tokens or 0)
        metrics.generation.observe(seconds_from_ns(finish.t_ns - self._asked_ns))
        self._sink.finish(finish)
