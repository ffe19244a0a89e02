"""The client on virtual time against the mock engine: exact due times, holds, failures and cancellation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.core.clock import VirtualClock, run_virtual
from bench.core.errors import EngineError
from bench.core.protocols import Handle, Sink
from bench.core.records import Prompt, Segment, Session, Turn, TurnRequest, TurnRow
from bench.core.spec import (
    ClosedLoadSpec,
    LoadSpec,
    MeasureSpec,
    MockEngineSpec,
    ModelSpec,
    PoissonLoadSpec,
    ReasoningSpec,
    Spec,
)
from bench.engine.mock import MockEngine
from bench.load.arrivals import arrival_times_s
from bench.load.driver import Driver

MS = 1_000_000


class CountedPrompts:
    """Zero tokens of the right number, shared with nothing."""

    def realise(self, turn: Turn) -> Prompt:
        return Prompt((0,) * turn.prompt_tokens)

    def shared_tokens(self, turn: Turn) -> int:
        return 0


def chain(name: str, turns: int, delay_s: float = 0.0, output: int = 4, thinking: int = 1) -> Session:
    return Session(
        name,
        tuple(
            Turn(
                index=i,
                prompt=(Segment(f"{name}/{i}", 8),),
                output_tokens=output,
                thinking_tokens=thinking,
                after=(i - 1,) if i else (),
                delay_s=delay_s if i else 0.0,
            )
            for i in range(turns)
        ),
    )


def spec(load: LoadSpec, **measure: Any) -> Spec:
    return Spec(
        name="driven",
        model=ModelSpec(path="none"),
        workload=ReasoningSpec(kind="reasoning", sessions=1),
        load=load,
        measure=MeasureSpec(**measure),
    )


def drive(
    sessions: list[Session], load: LoadSpec, *, engine: Any = None, **measure: Any
) -> tuple[list[TurnRow], Driver]:
    rows: list[TurnRow] = []

    async def main() -> Driver:
        clock = VirtualClock()
        mock = MockEngineSpec(kind="mock", ttft_ms=20, tpot_ms=5)
        answering = engine(clock) if engine else MockEngine(mock, clock=clock)
        driver = Driver(answering, clock, CountedPrompts(), rows.append, spec(load, **measure))
        await driver.drive(sessions)
        return driver

    driver = run_virtual(main())
    return rows, driver


def test_a_turn_is_due_when_the_one_before_completed_plus_its_scaled_delay() -> None:
    rows, _ = drive([chain("a", 3, delay_s=2.0)], ClosedLoadSpec(kind="closed", concurrency=1, time_scale=0.5))
    turn_ns = (20 + 3 * 5) * MS
    assert [row.t_due_ns for row in rows] == [0, turn_ns + 1000 * MS, 2 * (turn_ns + 1000 * MS)]
    assert [row.t_send_ns for row in rows] == [row.t_due_ns for row in rows]


def test_the_row_holds_first_answer_last_and_every_gap() -> None:
    (row,), _ = drive([chain("a", 1, output=5, thinking=2)], ClosedLoadSpec(kind="closed", concurrency=1))
    assert (row.t_first_ns, row.t_answer_ns, row.t_last_ns) == (20 * MS, 30 * MS, 40 * MS)
    assert row.chunk_t_ns == [20 * MS] + [5 * MS] * 4
    assert (row.output_tokens, row.thinking_tokens, row.status, row.finish) == (5, 2, "ok", "length")


def test_closed_loop_keeps_exactly_the_asked_sessions_alive() -> None:
    rows, driver = drive([chain(f"s{i}", 2) for i in range(7)], ClosedLoadSpec(kind="closed", concurrency=3))
    events = sorted([(row.t_send_ns, 1) for row in rows] + [(row.t_done_ns or 0, -1) for row in rows])
    alive = peak = 0
    for _, change in events:
        alive += change
        peak = max(peak, alive)
    assert peak == 3
    assert (driver.progress.sessions_done, driver.progress.turns_done) == (7, 14)


def test_poisson_sends_at_its_arrivals_and_a_cap_shows_as_hold() -> None:
    sessions = [chain(f"s{i}", 1) for i in range(20)]
    load = PoissonLoadSpec(kind="poisson", sessions_per_s=100.0, seed=3)
    free, _ = drive(sessions, load)
    arrivals_ns = [round(s * 1e9) for s in arrival_times_s(load, sessions)]
    assert sorted(row.t_send_ns for row in free) == arrivals_ns
    assert all(row.hold_ns == 0 for row in free)
    capped, _ = drive(sessions, PoissonLoadSpec(kind="poisson", sessions_per_s=100.0, seed=3, max_sessions=1))
    assert sorted(row.t_due_ns for row in capped) == arrivals_ns
    assert all(row.t_send_ns == row.t_due_ns + row.hold_ns for row in capped)
    assert max(row.hold_ns for row in capped) > 0


def test_turns_after_a_failed_one_are_not_sent_and_are_counted() -> None:
    failing = MockEngineSpec(kind="mock", ttft_ms=20, tpot_ms=5, fail_every=2)
    rows, driver = drive(
        [chain("a", 4)],
        ClosedLoadSpec(kind="closed", concurrency=1),
        engine=lambda clock: MockEngine(failing, clock=clock),
    )
    assert [row.status for row in rows] == ["ok", "failed"]
    assert rows[1].error == "declared by fail_every"
    assert dict(driver.progress.not_sent) == {"an earlier turn of the session did not complete": 2}


def test_nothing_is_sent_after_the_deadline() -> None:
    rows, driver = drive([chain("a", 10, delay_s=1.0)], ClosedLoadSpec(kind="closed", concurrency=1), max_seconds=2.5)
    assert len(rows) == 3
    assert sum(driver.progress.not_sent.values()) == 7


def test_a_session_is_a_dag_and_joins_wait_for_every_branch() -> None:
    def turn(index: int, after: tuple[int, ...], output: int) -> Turn:
        return Turn(index=index, prompt=(Segment(str(index), 1),), output_tokens=output, after=after)

    fan = Session("fan", (turn(0, (), 1), turn(1, (0,), 1), turn(2, (0,), 11), turn(3, (1, 2), 1)))
    rows, _ = drive([fan], ClosedLoadSpec(kind="closed", concurrency=1))
    due = {row.turn_index: row.t_due_ns for row in rows}
    assert due == {0: 0, 1: 20 * MS, 2: 20 * MS, 3: (20 + 20 + 50) * MS}


def test_cancelling_the_drive_logs_what_was_in_flight() -> None:
    rows: list[TurnRow] = []

    async def main() -> None:
        clock = VirtualClock()
        engine = MockEngine(MockEngineSpec(kind="mock", ttft_ms=20, tpot_ms=5), clock=clock)
        load = ClosedLoadSpec(kind="closed", concurrency=2)
        driver = Driver(engine, clock, CountedPrompts(), rows.append, spec(load))
        driving = asyncio.create_task(driver.drive([chain(f"s{i}", 1, output=1000) for i in range(4)]))
        await asyncio.sleep(0.1)
        driving.cancel()
        await asyncio.wait({driving})
        assert driving.cancelled()

    run_virtual(main())
    assert [row.status for row in rows] == ["cancelled", "cancelled"]
    assert all(row.output_tokens > 10 for row in rows)


def test_a_lost_engine_is_told_as_itself() -> None:
    class Lost(MockEngine):
        async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
            raise EngineError("the worker is gone")

    with pytest.raises(EngineError, match="the worker is gone"):
        drive(
            [chain("a", 1), chain("b", 1)],
            ClosedLoadSpec(kind="closed", concurrency=2),
            engine=lambda clock: Lost(MockEngineSpec(kind="mock"), clock=clock),
        )


def test_a_request_seed_is_its_own_and_repeats() -> None:
    seeds: dict[str, list[int]] = {}

    class Watching(MockEngine):
        async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
            seeds.setdefault(request.session_id, []).append(request.sampling.seed)
            return await super().submit(request, sink)

    def watched(clock: Any) -> Watching:
        return Watching(MockEngineSpec(kind="mock"), clock=clock)

    for _ in range(2):
        drive([chain("a", 2), chain("b", 1)], ClosedLoadSpec(kind="closed", concurrency=1), engine=watched)
    assert seeds["a"][:2] == seeds["a"][2:]
    assert len({*seeds["a"], *seeds["b"]}) == 3
