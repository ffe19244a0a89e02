"""The client: begins each session and sends each turn when it is due.

A session is a closed loop inside: a turn is due when the turns it waits for have completed and its tool or human delay
has passed. Outside, sessions either replace one another at a fixed concurrency or arrive when their load says.
Requests are made before they are due, and rows are written when nothing is waiting to be sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bench.core.clock import Clock
from bench.core.errors import first_told
from bench.core.protocols import Engine
from bench.core.records import Progress, TurnRow
from bench.core.sessions import Session, Turn, TurnRequest
from bench.core.spec import Spec
from bench.core.units import NS_PER_MS, ns_from_seconds
from bench.load.ahead import Ahead, Made
from bench.load.alarm import Alarm, set_alarm
from bench.load.judge import Judge
from bench.load.order import SessionOrder
from bench.load.requests import Prompts, RequestMaker
from bench.load.row_log import RowLog
from bench.load.sender import Sender
from bench.load.session_run import SessionRun
from bench.load.share import Share, all_at_once, whole_load

OVER = "the time to send was over"
BROKEN_OFF = "an earlier turn of the session did not complete"
_LEAD_NS = 20 * NS_PER_MS
"""How long before it is due a turn's request is made: what a prompt of 128k tokens takes, twice over."""
_MADE_AT_START = 64
"""Sessions of an open loop that are ready before the first is due, the engine too."""
_BEGUN_TOGETHER = 16
"""Lanes that send at the start before what was answered meanwhile is stamped."""

SentTurn = Callable[[TurnRow, Turn, int], None]
"""Hears of each turn that was sent, in that order: its row, the turn, and which play of its session it is of."""


class Driver:
    """Drives sessions through one engine as `spec` says; `log` receives every turn that was sent when it has ended.

    A warm-up ignores when sessions are due and how long the run may take. `sent` replaces how a row learns how many of
    its prompt tokens an earlier turn had.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        prompts: Prompts,
        log: Callable[[TurnRow], None],
        spec: Spec,
        *,
        warmup: bool = False,
        sent: SentTurn | None = None,
    ) -> None:
        self.progress = Progress()
        self._to_make = 0
        """Sessions that were begun and are still to be replaced in what is made ahead."""
        self._engine = engine
        self._clock = clock
        self._spec = spec
        self._closed = warmup or not spec.load.open_loop
        self._time_scale = spec.load.time_scale
        self._warmup = warmup
        self._sent: SentTurn = sent or partial(_note_shared, prompts)
        self._rows = RowLog(log, clock)
        self._judge = Judge(self._rows, prompts.text_of)
        self._requests = RequestMaker(engine, prompts, spec.workload)
        self._sender = Sender(
            engine, clock, self._rows, self._judge, self.progress, pinned=spec.workload.length_mode == "pinned"
        )
        self._stop_sending_ns: int | None = None
        # These live while sessions are driven.
        self._ahead: Ahead
        self._alarm: Alarm
        self._tasks: asyncio.TaskGroup

    async def drive(self, sessions: Sequence[Session]) -> None:
        """Send every turn of `sessions`. Cancelling this cancels what is in flight and logs it as cancelled.

        Raises EngineError when the engine itself is lost, and InputError where a session would never begin.
        """
        await self.drive_share(all_at_once(sessions) if self._warmup else whole_load(self._spec, sessions))

    async def drive_share(
        self, share: Share, *, start_ns: int | None = None, positions: Iterator[int] | None = None
    ) -> None:
        """`drive` for one client of several: `share` of the load, its times counted from `start_ns` on the clock.

        `positions` is the count of begun sessions that all clients share, where there are no arrivals.
        """
        order = SessionOrder(share.sessions, None if self._warmup else self._spec.load, positions)
        if positions is None:
            self.progress.turns_planned += order.known_turns
        self._ahead = Ahead(order, self._requests, self._clock)
        self._alarm = set_alarm(self._clock)
        try:
            async with asyncio.TaskGroup() as background:
                working = [
                    background.create_task(work) for work in (self._rows.keep_writing(), self._judge.keep_judging())
                ]
                await self._sessions(share, start_ns)
                await self._judge.finished()
                for task in working:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise first_told(group) from None
        finally:
            self._alarm.close()
            self._judge.give_up()
            self._rows.write_all()

    async def _sessions(self, share: Share, start_ns: int | None) -> None:
        for _ in range(min(share.places, _MADE_AT_START)):
            self._ahead.make()
        await self._engine.expect(share.places if self._closed else min(share.places, _MADE_AT_START))
        start_ns = self._clock.now_ns() if start_ns is None else start_ns
        if self._spec.measure.max_seconds is not None and not self._warmup:
            self._stop_sending_ns = start_ns + ns_from_seconds(self._spec.measure.max_seconds)
        async with asyncio.TaskGroup() as self._tasks:
            if share.arrivals_s is not None:
                await self._arrivals(share.arrivals_s, share.places, start_ns)
            else:
                await self._alarm.until(start_ns)
                for lane in range(1, share.places + 1):
                    self._tasks.create_task(self._lane())
                    if lane % _BEGUN_TOGETHER == 0:
                        await asyncio.sleep(0)

    async def _lane(self) -> None:
        """Begin one session after another."""
        while not self._time_is_over():
            due_ns = self._clock.now_ns()
            made = self._ahead.take()
            if made is None:
                return
            await self._session(made, due_ns, 0)
        self._not_sent(OVER, self._ahead.give_up())

    async def _arrivals(self, arrivals_s: Sequence[float], places: int, start_ns: int) -> None:
        """Begin each session when it is due and there is a place for it."""
        free = asyncio.Semaphore(places)
        held_until_ns = start_ns
        for arrival_s in arrivals_s:
            due_ns = start_ns + ns_from_seconds(arrival_s)
            if not await self._until_due(due_ns):
                break
            if free.locked():
                await free.acquire()
                held_until_ns = self._clock.now_ns()
            else:
                await free.acquire()
            if self._time_is_over():
                break
            made = self._ahead.take()
            if made is not None:
                arrived = self._session(made, due_ns, max(0, held_until_ns - due_ns))
                self._tasks.create_task(arrived).add_done_callback(lambda _: free.release())
        self._not_sent(OVER, self._ahead.give_up())

    async def _until_due(self, due_ns: int) -> bool:
        """`_reach`, and meanwhile make requests ready as long as that takes clearly less time than is left."""
        while not self._ahead.full and due_ns - self._clock.now_ns() > 2 * self._ahead.cost_ns:
            self._ahead.make()
            if not self._ahead.full:
                await asyncio.sleep(0)
        return await self._reach(due_ns)

    async def _session(self, made: Made, due_ns: int, hold_ns: int) -> None:
        run = SessionRun(made.opening, made.requests, due_ns, hold_ns)
        self.progress.turns_planned += made.opening.adds_turns
        self.progress.sessions_alive += 1
        try:
            if run.opening.warm_up is None or await self._warm_up(run, run.opening.warm_up):
                await self._turns(run)
            else:
                self._not_sent(BROKEN_OFF, len(run.opening.turns))
            await self._engine.end_session(run.opening.id)
        finally:
            self.progress.sessions_alive -= 1
        self.progress.sessions_done += 1

    async def _warm_up(self, run: SessionRun, turn: Turn) -> bool:
        """Let the engine compute what `run` goes on from; its turns are due when that is done."""
        row = self._row(run, turn, run.requests[turn.index], due_ns=run.due_ns, warmup=True)
        answered = await self._sender.send(
            run.requests.pop(turn.index), row, partial(self._after_sending, run, turn, row)
        )
        run.due_ns = self._clock.now_ns()
        return answered

    async def _turns(self, run: SessionRun) -> None:
        first, *others = run.roots
        for turn in others:
            self._tasks.create_task(self._branch(run, turn))
        await self._branch(run, first)
        await run.ended()

    async def _branch(self, run: SessionRun, turn: Turn) -> None:
        """Send `turn` and, one after another, what then waits for nothing; where several do they are branches too."""
        free = [turn]
        while free:
            turn, *others = free
            for other in others:
                self._tasks.create_task(self._branch(run, other))
            end_ns = await self._turn(run, turn)
            free = [] if end_ns is None else run.complete(turn, end_ns)

    async def _turn(self, run: SessionRun, turn: Turn) -> int | None:
        """Send `turn` when it is due; returns when it completed, or None if it did not."""
        due_ns = run.base_ns(turn) + self._delay_ns(turn)
        request = run.requests.pop(turn.index, None)
        if request is None and await self._reach(due_ns - _LEAD_NS):
            request = self._requests.make(run.opening.id, turn, run.opening.play)
        if request is None or not await self._reach(due_ns):
            self._not_sent(OVER, 1 + run.give_up(turn))
            self.progress.cut_sessions.add(run.opening.id)
            return None
        row = self._row(run, turn, request, due_ns, warmup=self._warmup)
        if not await self._sender.send(request, row, partial(self._after_sending, run, turn, row)):
            self._not_sent(BROKEN_OFF, run.give_up(turn))
            return None
        return row.t_done_ns

    def _after_sending(self, run: SessionRun, turn: Turn, row: TurnRow) -> None:
        """While the engine has `turn`, make ready what follows it at once."""
        play = run.opening.play
        self._sent(row, turn, play)
        for behind in run.waiting_for(turn):
            if self._delay_ns(behind) < _LEAD_NS:
                run.requests[behind.index] = self._requests.make(run.opening.id, behind, play)
        if self._closed and not turn.after:
            self._to_make += 1
            if self._to_make == 1:
                asyncio.get_running_loop().call_soon(self._make_ahead)

    def _make_ahead(self) -> None:
        """Make ready one session in each turn of the loop: where many turns end together, their next go first."""
        self._ahead.make()
        self._to_make -= 1
        if self._to_make:
            asyncio.get_running_loop().call_soon(self._make_ahead)

    def _row(self, run: SessionRun, turn: Turn, request: TurnRequest, due_ns: int, *, warmup: bool) -> TurnRow:
        return TurnRow(
            session_id=run.opening.id,
            turn_index=turn.index,
            warmup=warmup,
            foreground=turn.foreground,
            prompt_tokens=len(request.prompt_ids),
            shared_tokens=0,  # told once it is sent
            asked_output_tokens=turn.output_tokens,
            asked_thinking_tokens=turn.thinking_tokens,
            t_due_ns=due_ns,
            hold_ns=0 if turn.after else run.hold_ns,
            delay_class=turn.delay_class,
            delay_ns=self._delay_ns(turn),
            effort=turn.effort,
        )

    def _not_sent(self, reason: str, turns: int) -> None:
        if turns:
            self.progress.not_sent[reason] += turns

    def _delay_ns(self, turn: Turn) -> int:
        return ns_from_seconds(turn.delay_s * self._time_scale)

    async def _reach(self, t_ns: int) -> bool:
        """Wait for `t_ns`, or for the end of the time to send if that is earlier; whether turns may still be sent."""
        await self._alarm.until(t_ns if self._stop_sending_ns is None else min(t_ns, self._stop_sending_ns))
        return not self._time_is_over()

    def _time_is_over(self) -> bool:
        return self._stop_sending_ns is not None and self._clock.now_ns() >= self._stop_sending_ns


def _note_shared(prompts: Prompts, row: TurnRow, turn: Turn, play: int) -> None:
    row.shared_tokens = prompts.shared_tokens(turn, play)
