"""What keeping turns costs the client's thread: 10,000 rows appended one by one, flushes included.

`us_per_row` is that time a row, `longest_stall_ms` the longest that one append held the thread up. Nothing here is
asserted.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.core.records import TurnRow
from bench.core.spec import Case, Spec
from bench.results.store import ResultWriter

pytestmark = pytest.mark.benchmark(timer=time.thread_time)
ROWS = 10_000


@pytest.fixture
def writer(tmp_path: Path) -> ResultWriter:
    document = {
        "name": "rows",
        "model": {"path": "tiny"},
        "engine": {"kind": "mock"},
        "workload": {"kind": "reasoning", "sessions": 1},
        "load": {"kind": "closed", "concurrency": 1},
    }
    case = Case.of(Spec.model_validate(document), model_digest="m", workload_digest="w")
    return ResultWriter(tmp_path, case=case, node={}, provenance={}, workload={})


def turns(chunks: int) -> list[TurnRow]:
    return [
        TurnRow(
            session_id=f"session-{i}",
            turn_index=0,
            warmup=False,
            foreground=True,
            prompt_tokens=100,
            shared_tokens=0,
            asked_output_tokens=chunks,
            asked_thinking_tokens=0,
            t_due_ns=i,
            t_send_ns=i,
            t_first_ns=i,
            t_last_ns=i,
            t_done_ns=i,
            status="ok",
            chunk_t_ns=[10**9 + i] * chunks,
            chunk_tokens=[1] * chunks,
        )
        for i in range(ROWS)
    ]


@pytest.mark.parametrize("chunks", [1, 8, 64])
def test_appending_turns(benchmark: BenchmarkFixture, writer: ResultWriter, chunks: int) -> None:
    rows, stalls = turns(chunks), []

    def append() -> None:
        for row in rows:
            before = time.thread_time()
            writer.append_turns([row])
            stalls.append(time.thread_time() - before)

    benchmark.pedantic(append, rounds=5, warmup_rounds=1)
    benchmark.extra_info["us_per_row"] = 1e6 * benchmark.stats.stats.min / ROWS
    benchmark.extra_info["longest_stall_ms"] = 1e3 * max(stalls)
