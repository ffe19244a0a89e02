"""One client process of several: sends its share of the load and tells what happened a few times a second.

It ends when it has sent everything, when it is told to stop, and when the run's end of the connection closes: no run,
however it died, leaves a client behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvloop

from bench.client.messages import Batch, Begin, Ended, Failed, Order, Ready, Report, Sent, Stop, Work, encode_rows
from bench.client.shared_count import SharedCount
from bench.core.clock import RealClock
from bench.core.errors import BenchError
from bench.core.module_process import call_when_readable
from bench.core.protocols import Engine
from bench.core.records import TurnRow
from bench.core.sessions import Turn
from bench.engine.build import build_engine
from bench.load.client_watch import ClientWatch
from bench.load.driver import Driver
from bench.load.garbage import seldom_collected
from bench.workload.prompts import PromptSynthesizer

_TELL_EVERY_S = 0.05
"""So often that a batch fits the connection's buffer, and telling does not hold the loop up."""


def main() -> None:
    # A terminal sends Ctrl-C to every process of the command; the run tells its clients what that means for them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection: Connection[Report, Order] = Connection(int(sys.argv[1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Worker(connection).work())


class _Worker:
    def __init__(self, connection: Connection[Report, Order]) -> None:
        self._connection = connection
        self._orders: asyncio.Queue[Order] = asyncio.Queue()
        self._clock = RealClock()
        self._sent: list[Sent] = []
        self._rows: list[TurnRow] = []

    async def work(self) -> None:
        call_when_readable(self._connection, self._on_readable)
        work = await self._orders.get()
        if not isinstance(work, Work):
            return
        engine = build_engine(work.spec.engine, Path(work.model), clock=self._clock)
        watch = ClientWatch(self._clock)
        with contextlib.suppress(OSError):  # nobody is there to be told
            try:
                await engine.start()
                await self._drive(work, engine, watch)
            except BenchError as error:
                self._connection.send(Failed(str(error)))
            else:
                self._connection.send(Ended(watch.load, engine.describe()))
            finally:
                await engine.stop()

    async def _drive(self, work: Work, engine: Engine, watch: ClientWatch) -> None:
        """Send the share from when the run says to, until it is sent or the run says to stop."""
        can, framing = engine.capabilities, work.spec.workload.length_mode == "free"
        prompts = PromptSynthesizer(Path(work.model), work.salt, framing, can.prompt, can.images)
        driver = Driver(engine, self._clock, prompts, self._rows.append, work.spec, sent=self._note_sent)
        with seldom_collected(), _counting(work.count) as positions:
            self._connection.send(Ready())
            begin = await self._orders.get()
            if not isinstance(begin, Begin):
                return
            async with watch:
                driving = asyncio.create_task(
                    driver.drive_share(work.share, start_ns=begin.start_ns, positions=positions)
                )
                telling = asyncio.create_task(self._keep_telling(driver, engine))
                stopping = asyncio.create_task(self._orders.get())
                working = {driving, telling, stopping}
                await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
                for task in working:
                    task.cancel()
                await asyncio.wait(working)
        self._tell(driver, engine)
        if not driving.cancelled():
            driving.result()

    async def _keep_telling(self, driver: Driver, engine: Engine) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            self._tell(driver, engine)

    def _tell(self, driver: Driver, engine: Engine) -> None:
        batch = Batch(self._clock.now_ns(), self._sent, encode_rows(self._rows), driver.progress, engine.counters())
        self._connection.send(batch)
        self._sent.clear()
        self._rows.clear()

    def _note_sent(self, row: TurnRow, turn: Turn, play: int) -> None:
        del turn
        self._sent.append(Sent(row.t_send_ns, row.session_id, row.turn_index, play))

    def _on_readable(self) -> None:
        try:
            order = self._connection.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            order = Stop()
        self._orders.put_nowait(order)


@contextlib.contextmanager
def _counting(file: str | None) -> Iterator[Any]:
    if file is None:
        yield None
        return
    count = SharedCount(Path(file))
    try:
        yield count
    finally:
        count.close()


if __name__ == "__main__":
    main()
