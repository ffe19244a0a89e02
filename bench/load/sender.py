"""Sends one turn, waits for its end and logs what was seen of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bench.core.clock import Clock
from bench.core.protocols import Engine, Handle
from bench.core.records import Progress, TurnRow
from bench.core.sessions import TurnRequest
from bench.load.judge import Judge
from bench.load.row_log import RowLog
from bench.load.turn_sink import Answer, TurnSink


class Sender:
    """What every turn of a run is sent with."""

    def __init__(
        self, engine: Engine, clock: Clock, rows: RowLog, judge: Judge, progress: Progress, *, pinned: bool
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._rows = rows
        self._judge = judge
        self._progress = progress
        self._pinned = pinned

    async def send(self, request: TurnRequest, row: TurnRow, sent: Callable[[], None]) -> bool:
        """Send `request`, call `sent` once that is done, and return whether it was answered whole.

        Cancelling this cancels the turn. Raises EngineError when the engine is lost. The row is logged in every case.
        """
        check = None if row.warmup else request.turn.check
        answer = None if check is None else Answer()
        sink = TurnSink(row, asyncio.get_running_loop().create_future(), pinned=self._pinned, answer=answer)
        handle: Handle | None = None
        row.t_send_ns = self._clock.now_ns()
        try:
            handle = await self._engine.submit(request, sink)
            sent()
            await sink.done
        except BaseException as error:
            if handle is not None and isinstance(error, asyncio.CancelledError):
                await self._engine.cancel(handle)
            self._end(row)
            self._rows.add(row)
            raise
        self._end(row)
        if check is not None and answer is not None and row.status == "ok":
            self._judge.add(row, check, answer)
        else:
            self._rows.add(row)
        return row.status == "ok"

    def _end(self, row: TurnRow) -> None:
        if row.warmup:
            return
        self._progress.turns_done += row.status == "ok"
        self._progress.turns_failed += row.status == "failed"
        self._progress.output_tokens += row.output_tokens
