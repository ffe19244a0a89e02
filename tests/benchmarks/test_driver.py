"""What the client costs beside its engine: CPU of the driver for a request of one token, answered at once.

The aim is 30 us: 10,000 requests a second then leave two thirds of a core to the HTTP client. `us_per_request` is the
CPU time of the thread over the requests; nothing here is asserted.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence

import pytest
import uvloop
from driving import CountedPrompts, chain, spec
from pytest_benchmark.fixture import BenchmarkFixture

from bench.core.clock import RealClock
from bench.core.protocols import Sink
from bench.core.records import Chunk, Finish, TurnRow
from bench.core.sessions import Session, TurnRequest
from bench.core.spec import ClosedLoadSpec, ConstantLoadSpec, LoadSpec, MockEngineSpec
from bench.engine.mock import MockEngine
from bench.load.driver import Driver
from bench.load.garbage import seldom_collected

pytestmark = pytest.mark.benchmark(timer=time.thread_time)

REQUESTS = 20_000


class Asked:
    def __init__(self, request: TurnRequest) -> None:
        self.request = request


class AnsweringAtOnce(MockEngine):
    async def submit(self, request: TurnRequest, sink: Sink) -> Asked:
        asyncio.get_running_loop().call_soon(self._end, sink)
        return Asked(request)

    def _end(self, sink: Sink) -> None:
        now_ns = self._clock.now_ns()
        sink.chunk(Chunk(now_ns, None, 1, "answer"))
        sink.finish(Finish(now_ns, "length"))


def send(load: LoadSpec, sessions: Sequence[Session]) -> int:
    rows: list[TurnRow] = []

    async def main() -> None:
        clock = RealClock()
        engine = AnsweringAtOnce(MockEngineSpec(kind="mock"), clock=clock)
        with seldom_collected():
            await Driver(engine, clock, CountedPrompts(), rows.append, spec(load)).drive(sessions)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    return len(rows)


@pytest.mark.parametrize(
    "load",
    [
        ClosedLoadSpec(kind="closed", concurrency=64),
        ConstantLoadSpec(kind="constant", sessions_per_s=1e9),
        ConstantLoadSpec(kind="constant", sessions_per_s=5_000),
    ],
    ids=["64-lanes", "all-due", "5000-a-second"],
)
def test_single_turns(benchmark: BenchmarkFixture, load: LoadSpec) -> None:
    sessions = [chain(f"s{i}", 1, output=1, thinking=0) for i in range(REQUESTS)]
    gc.collect()
    assert benchmark.pedantic(send, (load, sessions), rounds=3) == REQUESTS
    benchmark.extra_info["us_per_request"] = round(benchmark.stats.stats.min / REQUESTS * 1e6, 1)
