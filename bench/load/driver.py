"""The client: sends each turn when it is due and logs what comes back.

A session is a closed loop inside: a turn is due when the turns it waits for have completed and its tool or human delay
has passed. Outside, sessions either replace one another at a fixed concurrency or arrive when their load says.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from bench.core.clock import Clock, sleep_until
from bench.core.errors import first_told
from bench.core.protocols import Engine
from bench.core.records import Progress, Prompt, Sampling, Session, Turn, TurnRequest, TurnRow
from bench.core.spec import ClosedLoadSpec, Spec
from bench.core.units import ns_from_seconds
from bench.load.arrivals import arrival_times_s
from bench.load.turn_sink import TurnSink


class Prompts(Protocol):
    """Turns segments into what an engine is asked."""

    def realise(self, turn: Turn) -> Prompt: ...

    def shared_tokens(self, turn: Turn) -> int:
        """Leading prompt tokens that earlier calls already covered; called once a turn, in the order of sending."""


class Driver:
    """Drives sessions through one engine as `spec` says; `log` receives every turn that was sent when it has ended."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        prompts: Prompts,
        log: Callable[[TurnRow], None],
        spec: Spec,
        *,
        warmup: bool = False,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._prompts = prompts
        self._log = log
        self._load = spec.load
        self._workload = spec.workload
        self._pinned = spec.workload.length_mode == "pinned"
        self._max_seconds = None if warmup else spec.measure.max_seconds
        self._stop_sending_ns: int | None = None
        self._warmup = warmup
        self.progress = Progress()

    async def drive(self, sessions: Sequence[Session]) -> None:
        """Send every turn of `sessions`. Cancelling this cancels what is in flight and logs it as cancelled.

        Raises EngineError when the engine itself is lost.
        """
        self.progress.turns_planned += sum(len(session.turns) for session in sessions)
        if self._max_seconds is not None:
            self._stop_sending_ns = self._clock.now_ns() + ns_from_seconds(self._max_seconds)
        try:
            match self._load:
                case ClosedLoadSpec(concurrency=concurrency):
                    await self._closed(sessions, concurrency)
                case _:
                    await self._open(sessions, self._load.max_sessions)
        except BaseExceptionGroup as group:
            raise first_told(group) from None

    async def _closed(self, sessions: Sequence[Session], concurrency: int) -> None:
        queue = iter(sessions)

        async def lane(queue: Iterator[Session]) -> None:
            for session in queue:
                await self._session(session, due_ns=self._clock.now_ns())

        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(concurrency, len(sessions))):
                lanes.create_task(lane(queue))

    async def _open(self, sessions: Sequence[Session], max_sessions: int | None) -> None:
        start_ns = self._clock.now_ns()
        places = asyncio.Semaphore(max_sessions or len(sessions))

        async def held(session: Session, due_ns: int) -> None:
            waits_from_ns = self._clock.now_ns()
            async with places:
                await self._session(session, due_ns, hold_ns=self._clock.now_ns() - waits_from_ns)

        async with asyncio.TaskGroup() as alive:
            times_s = arrival_times_s(self._load, sessions).tolist()
            for arrival_s, session in sorted(zip(times_s, sessions, strict=True), key=lambda pair: pair[0]):
                due_ns = start_ns + ns_from_seconds(arrival_s)
                await sleep_until(self._clock, due_ns)
                alive.create_task(held(session, due_ns))

    async def _session(self, session: Session, due_ns: int, hold_ns: int = 0) -> None:
        self.progress.sessions_alive += 1
        completed = {turn.index: asyncio.get_running_loop().create_future() for turn in session.turns}
        try:
            async with asyncio.TaskGroup() as turns:
                for turn in session.turns:
                    turns.create_task(self._turn(session, turn, completed, due_ns, hold_ns))
            await self._engine.end_session(session.id)
        finally:
            self.progress.sessions_alive -= 1
        self.progress.sessions_done += 1

    async def _turn(
        self,
        session: Session,
        turn: Turn,
        completed: dict[int, asyncio.Future[int | None]],
        session_due_ns: int,
        hold_ns: int,
    ) -> None:
        """Send `turn` when it is due, and tell the turns behind it when it completed, or None if it did not."""
        before = [await completed[index] for index in turn.after]
        ends_ns = [end_ns for end_ns in before if end_ns is not None]
        if len(ends_ns) < len(before):
            return self._give_up(turn, completed, "an earlier turn of the session did not complete")
        due_ns = max(ends_ns, default=session_due_ns) + ns_from_seconds(turn.delay_s * self._load.time_scale)
        request = self._engine.prepare(self._request(session, turn, self._prompts.realise(turn)))
        await sleep_until(self._clock, due_ns)
        if self._stop_sending_ns is not None and self._clock.now_ns() >= self._stop_sending_ns:
            return self._give_up(turn, completed, "the time to send was over")
        row = self._row(session, turn, len(request.prompt_ids), due_ns, 0 if turn.after else hold_ns)
        await self._ask(request, row)
        completed[turn.index].set_result(row.t_done_ns if row.status == "ok" else None)
        return None

    def _give_up(self, turn: Turn, completed: dict[int, asyncio.Future[int | None]], reason: str) -> None:
        self.progress.not_sent[reason] += 1
        completed[turn.index].set_result(None)

    def _row(self, session: Session, turn: Turn, prompt_tokens: int, due_ns: int, hold_ns: int) -> TurnRow:
        return TurnRow(
            session_id=session.id,
            turn_index=turn.index,
            warmup=self._warmup,
            foreground=turn.foreground,
            prompt_tokens=prompt_tokens,
            shared_tokens=self._prompts.shared_tokens(turn),
            asked_output_tokens=turn.output_tokens,
            asked_thinking_tokens=turn.thinking_tokens,
            t_due_ns=due_ns,
            hold_ns=hold_ns,
            delay_class=turn.delay_class,
            delay_ns=ns_from_seconds(turn.delay_s * self._load.time_scale),
            effort=turn.effort,
        )

    def _request(self, session: Session, turn: Turn, prompt: Prompt) -> TurnRequest:
        return TurnRequest(
            session_id=session.id,
            turn=turn,
            prompt_ids=prompt.ids,
            max_tokens=turn.output_tokens,
            ignore_eos=self._pinned,
            sampling=self._sampling(session, turn),
            messages=prompt.messages,
        )

    async def _ask(self, request: TurnRequest, row: TurnRow) -> None:
        sink = TurnSink(row, pinned=self._pinned)
        row.t_send_ns = self._clock.now_ns()
        try:
            handle = await self._engine.submit(request, sink)
            try:
                await sink.done.wait()
            except asyncio.CancelledError:
                await self._engine.cancel(handle)
                raise
        finally:
            self._account(row)
            self._log(row)

    def _sampling(self, session: Session, turn: Turn) -> Sampling:
        asked = self._workload
        return Sampling(
            temperature=asked.temperature,
            seed=self._request_seed(session, turn),
            top_k=asked.top_k,
            top_p=asked.top_p,
            min_p=asked.min_p,
            repetition_penalty=asked.repetition_penalty,
            logit_bias=tuple(asked.logit_bias.items()),
        )

    def _request_seed(self, session: Session, turn: Turn) -> int:
        """A seed of the turn's own, the same in every run of the case and on every interpreter."""
        name = f"{self._workload.seed}/{session.id}/{turn.index}".encode()
        return int.from_bytes(hashlib.blake2b(name, digest_size=6).digest())

    def _account(self, row: TurnRow) -> None:
        self.progress.turns_done += row.status == "ok"
        self.progress.turns_failed += row.status == "failed"
        self.progress.output_tokens += row.output_tokens
