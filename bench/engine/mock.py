"""An engine of declared speed with no model behind it, on real or virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from bench.core.clock import Clock, sleep_until
from bench.core.protocols import Capabilities, Handle, Sink, StepLog
from bench.core.records import Chunk, Counters, Finish, FinishReason, Startup, TokenKind
from bench.core.sessions import TurnRequest
from bench.core.spec import MockEngineSpec
from bench.core.units import NS_PER_MS


@dataclass(frozen=True)
class _MockHandle:
    request: TurnRequest
    task: asyncio.Task[None]


class MockEngine:
    """Answers each turn alone: the first token after `ttft_ms`, then one each `tpot_ms`, whatever else is running."""

    step_log: StepLog | None = None

    def __init__(self, spec: MockEngineSpec, *, clock: Clock) -> None:
        self._spec = spec
        self._clock = clock
        self._counters = Counters()
        self._submitted = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.capabilities = Capabilities(
            force_length=True,
            token_ids=False,
            cache_stats=False,
            step_log=False,
            max_context_tokens=spec.max_context_tokens,
        )

    async def start(self) -> Startup:
        return Startup(total_s=0.0)

    async def expect(self, turns: int) -> None:
        """It is always ready."""

    def prepare(self, request: TurnRequest) -> TurnRequest:
        return request

    async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
        self._submitted += 1
        fails = self._spec.fail_every is not None and self._submitted % self._spec.fail_every == 0
        task = asyncio.create_task(self._answer(request, sink, fails=fails))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            # Not told by the task itself, which may be cancelled before it begins.
            if task.cancelled():
                sink.finish(Finish(self._clock.now_ns(), "cancelled"))

        task.add_done_callback(ended)
        return _MockHandle(request, task)

    async def cancel(self, handle: Handle) -> None:
        if isinstance(handle, _MockHandle):
            handle.task.cancel()
            await asyncio.wait({handle.task})

    async def end_session(self, session_id: str) -> None:
        """Nothing is kept between turns."""

    def counters(self) -> Counters:
        return replace(self._counters, running=len(self._tasks))

    def describe(self) -> dict[str, Any]:
        return {**self._spec.model_dump(mode="json"), "accelerators": 0, "accelerator_ids": []}

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _answer(self, request: TurnRequest, sink: Sink, *, fails: bool) -> None:
        start_ns = self._clock.now_ns()
        reason: FinishReason = "length" if request.ignore_eos else "stop"
        thinking = self._thinking_tokens(request)
        for index in range(request.max_tokens):
            due_ns = start_ns + round((self._spec.ttft_ms + index * self._spec.tpot_ms) * NS_PER_MS)
            await sleep_until(self._clock, due_ns)
            if fails:
                sink.finish(Finish(self._clock.now_ns(), "failed", error="declared by fail_every"))
                return
            kind: TokenKind = "thinking" if index < thinking else "answer"
            sink.chunk(Chunk(self._clock.now_ns(), None, 1, kind))
        self._count(request)
        sink.finish(Finish(self._clock.now_ns(), reason))

    def _thinking_tokens(self, request: TurnRequest) -> int:
        if request.ignore_eos:
            return request.turn.thinking_tokens
        return round(request.max_tokens * self._spec.thinking_share)

    def _count(self, request: TurnRequest) -> None:
        done = self._counters
        self._counters = replace(
            done,
            prompt_tokens=done.prompt_tokens + len(request.prompt_ids),
            output_tokens=done.output_tokens + request.max_tokens,
        )
