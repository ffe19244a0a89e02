"""Client processes that keep one schedule between them and write one log."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from bench.client.merge import Merge
from bench.client.messages import Batch, Begin, Ended, Failed, Order, Ready, Report, Stop, Work, decode_rows
from bench.core.clock import Clock
from bench.core.errors import EngineError
from bench.core.records import ClientLoad, Counters, Progress, TurnRow
from bench.core.spec import ClosedLoadSpec, Spec
from bench.core.units import NS_PER_MS
from bench.engine.worker_process import WorkerProcess
from bench.load.client_watch import busiest
from bench.load.requests import Prompts
from bench.load.share import Share, deal

_HEAD_START_NS = 200 * NS_PER_MS
"""Between telling the processes when to begin and that moment: enough to make the first requests."""
_STOP_SECONDS = 5.0
"""Longest wait for processes that were told to stop; after it they are killed."""


class ClientProcesses:
    """Sends `share` through as many processes, each with an engine, prompts and an event loop of its own.

    Arrivals are computed once and dealt out; sessions that replace one another are taken by a count that all share.
    Where a prompt was sent before, by whichever process, is told here, from the order in which all were sent.
    """

    def __init__(
        self,
        processes: int,
        prompts: Prompts,
        log: Callable[[TurnRow], None],
        spec: Spec,
        share: Share,
        *,
        clock: Clock,
        model: str,
        salt: str,
    ) -> None:
        self._shares = deal(share, processes)
        self._spec = spec
        self._model = model
        self._salt = salt
        self._clock = clock
        self._merge = Merge(share.sessions, prompts, len(self._shares), log)
        self._planned = 0 if share.arrivals_s is not None or _endless(spec) else _turns(share)
        self._count = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed with the processes
        self._processes: list[WorkerProcess[Order, Report]] = []
        self._ready: set[int] = set()
        self._batches: dict[int, Batch] = {}
        self._ended: dict[int, Ended] = {}
        self._news: asyncio.Future[None] | None = None
        self._lost: str | None = None

    @property
    def progress(self) -> Progress:
        """Of all processes together, as of their last batches."""
        parts = [batch.progress for batch in self._batches.values()]
        return Progress(
            turns_planned=self._planned + sum(part.turns_planned for part in parts),
            turns_done=sum(part.turns_done for part in parts),
            turns_failed=sum(part.turns_failed for part in parts),
            sessions_alive=sum(part.sessions_alive for part in parts),
            sessions_done=sum(part.sessions_done for part in parts),
            output_tokens=sum(part.output_tokens for part in parts),
            not_sent=sum((part.not_sent for part in parts), Counter()),
            cut_sessions=set().union(*(part.cut_sessions for part in parts)),
        )

    @property
    def load(self) -> ClientLoad | None:
        return busiest([ended.load for ended in self._ended.values() if ended.load is not None])

    def counters(self) -> Counters:
        parts = [batch.counters for batch in self._batches.values()]
        return Counters(
            running=sum(part.running for part in parts),
            prompt_tokens=sum(part.prompt_tokens for part in parts),
            output_tokens=sum(part.output_tokens for part in parts),
        )

    def describe(self) -> dict[str, Any]:
        """What the engine of each process did."""
        return {"clients": [self._ended[client].did for client in sorted(self._ended)]}

    async def start(self) -> None:
        """Begin the processes and return when each could send. Raises EngineError where one cannot."""
        for client, share in enumerate(self._shares):
            process: WorkerProcess[Order, Report] = WorkerProcess(
                "bench.client.worker",
                partial(self._receive, client),
                partial(self._on_exit, client),
                "a client process",
            )
            self._processes.append(process)
            count = None if share.arrivals_s is not None else self._count.name
            self._send(process, Work(self._spec, self._model, self._salt, share, count))
        await self._until(self._ready)

    async def drive(self) -> None:
        """As `Driver.drive`. Raises EngineError also where a process is lost; the others are then stopped."""
        begin = Begin(self._clock.now_ns() + _HEAD_START_NS)
        for process in self._processes:
            self._send(process, begin)
        try:
            await self._until(self._ended)
        finally:
            if len(self._ended) < len(self._shares):
                await self._stop()
            self._merge.finish()

    async def close(self) -> None:
        """End every process. Safe to call twice."""
        for process in self._processes:
            process.kill()
            await process.wait()
        self._count.close()

    async def _until(self, reached: Collection[int]) -> None:
        """Return when `reached` holds every client. Raises EngineError when one is lost before."""
        while len(reached) < len(self._shares):
            if self._lost is not None:
                raise EngineError(self._lost)
            self._news = asyncio.get_running_loop().create_future()
            await self._news

    async def _stop(self) -> None:
        """Let processes that still send end what they do, and take what they have to tell."""
        for process in self._processes:
            self._send(process, Stop())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                for process in self._processes:
                    await process.wait()

    def _send(self, process: WorkerProcess[Order, Report], order: Order) -> None:
        with contextlib.suppress(EngineError):  # it is gone, and why is told with its end
            process.send(order)

    def _receive(self, client: int, report: Report) -> None:
        match report:
            case Batch():
                self._batches[client] = report
                self._merge.add(client, report.until_ns, report.sent, decode_rows(report.rows))
            case Ready():
                self._ready.add(client)
                self._tell()
            case Ended():
                self._ended[client] = report
                self._merge.end(client)
                self._tell()
            case Failed(line):
                self._lose(client, line)

    def _on_exit(self, client: int, line: str) -> None:
        if client not in self._ended:
            self._lose(client, line)

    def lose(self, line: str) -> None:
        """What all of them ask is lost: `drive` raises EngineError with `line`."""
        self._lost = self._lost or line
        self._tell()

    def _lose(self, client: int, line: str) -> None:
        self._merge.end(client)
        self.lose(line)

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def _endless(spec: Spec) -> bool:
    return isinstance(spec.load, ClosedLoadSpec) and spec.load.recycle


def _turns(share: Share) -> int:
    return sum(len(session.turns) for session in share.sessions)
