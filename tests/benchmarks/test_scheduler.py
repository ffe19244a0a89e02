"""What a step costs the host before anything is computed: schedule and advance, with the prefix cache on.

The aim is 20 us and 1 us a running request. Requests end and others start all the while, out of a queue of thousands,
two blocks of each prompt are shared, and every sixteenth decode fills a block. `share_of_aim` is the median step over
the aim; `bytes_per_waiting_request` is what the queue holds for a prompt of 64 tokens. Nothing here is asserted.
"""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from array import array
from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.native.kv_cache import BlockAllocator
from bench.native.policies import make_policy
from bench.native.prefix_cache import extend_hashes
from bench.native.request import Request
from bench.native.scheduler import Scheduler

pytestmark = pytest.mark.benchmark(timer=time.thread_time)

BLOCK_TOKENS = 16
PROMPT_TOKENS = 64
MAX_OUTPUT = 400
WAITING = 5_000
WARM_UP_STEPS = 100


@pytest.fixture(autouse=True)
def what_was_imported_is_no_garbage() -> Iterator[None]:
    """As in the engine's own process, where collecting garbage does not look through it either."""
    gc.freeze()
    yield
    gc.unfreeze()


class Traffic:
    """Requests of random output lengths, and the tokens they would have been told."""

    def __init__(self, running: int, *, optimistic: bool) -> None:
        self._chance = random.Random(0)
        blocks = running * -(-(PROMPT_TOKENS + MAX_OUTPUT) // BLOCK_TOKENS)
        self.scheduler = Scheduler(
            make_policy("decode_first", tpot_target_ms=50),
            BlockAllocator(blocks, BLOCK_TOKENS),
            step_tokens=2 * running + 8 * PROMPT_TOKENS,
            max_running=running,
            max_context_tokens=PROMPT_TOKENS + MAX_OUTPUT,
            optimistic=optimistic,
        )
        self._token_ids: dict[int, array[int]] = {}
        self._due: list[Request] = []
        self._added = 0

    def add(self) -> None:
        prompt = array("i", [7] * (2 * BLOCK_TOKENS) + [self._added] * (PROMPT_TOKENS - 2 * BLOCK_TOKENS))
        request = Request(self._added, PROMPT_TOKENS, self._chance.randint(1, MAX_OUTPUT))
        extend_hashes(request.block_hashes, prompt, BLOCK_TOKENS, b"benchmark")
        self._token_ids[request.id] = prompt
        self.scheduler.add(request)
        self._added += 1

    def book(self) -> None:
        """What the engine does between two steps: it is not the scheduler's and is not timed."""
        for request in self._due:
            token_ids = self._token_ids[request.id]
            token_ids.append(request.id)
            extend_hashes(request.block_hashes, token_ids, BLOCK_TOKENS, b"benchmark")
            if request.generated == request.max_tokens:
                self.scheduler.remove(request.id)
                del self._token_ids[request.id]
        while self.scheduler.waiting < WAITING:
            self.add()

    def step(self) -> None:
        slices = self.scheduler.schedule()
        self._due = [slices[index].request for index in self.scheduler.advance(slices)]


@pytest.mark.parametrize("admission", ["worst_case", "optimistic"])
@pytest.mark.parametrize("running", [1, 64, 1024, 4096])
def test_step(benchmark: BenchmarkFixture, running: int, admission: str) -> None:
    benchmark.group = f"scheduler, {running} running"
    traffic = Traffic(running, optimistic=admission == "optimistic")
    for _ in range(WARM_UP_STEPS):
        traffic.book()
        traffic.step()
    benchmark.pedantic(traffic.step, setup=traffic.book, rounds=100)
    if benchmark.stats is not None:
        aim_s = 20e-6 + running * 1e-6
        benchmark.extra_info["share_of_aim"] = round(benchmark.stats.stats.median / aim_s, 2)
        benchmark.extra_info["running"] = traffic.scheduler.running


def test_waiting(benchmark: BenchmarkFixture) -> None:
    """A step while thousands wait for one that runs."""
    tracemalloc.start()
    traffic = Traffic(1, optimistic=False)
    before, _ = tracemalloc.get_traced_memory()
    traffic.book()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    benchmark.group = "scheduler, 5,000 waiting"
    benchmark.extra_info["bytes_per_waiting_request"] = round((after - before) / WAITING)
    benchmark.pedantic(traffic.step, setup=traffic.book, rounds=100)
