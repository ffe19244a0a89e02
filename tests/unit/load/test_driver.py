"""The client on virtual time against the mock engine: exact due times, holds, failures and cancellation."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest
from driving import MOCK, MS, CountedPrompts, chain, drive, spec, turn

from bench.core.clock import RealClock, VirtualClock, run_virtual, sleep_until
from bench.core.errors import EngineError
from bench.core.protocols import Handle, Sink
from bench.core.records import TurnRow
from bench.core.sessions import Session, TurnRequest
from bench.core.spec import ClosedLoadSpec, ConstantLoadSpec, LoadSpec, MockEngineSpec, PoissonLoadSpec
from bench.engine.mock import MockEngine
from bench.load.arrivals import arrival_times_s
from bench.load.driver import Driver


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


def test_a_stalled_engine_hides_no_wait() -> None:
    """Requests keep being due while nothing is answered, and each waits from when it was due."""

    class Stalling(MockEngine):
        async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
            if self._clock.now_ns() >= 1000 * MS:
                await sleep_until(self._clock, 2000 * MS)
            return await super().submit(request, sink)

    load = ConstantLoadSpec(kind="constant", sessions_per_s=100)
    rows, _ = drive([chain(f"s{i}", 1) for i in range(300)], load, engine=lambda clock: Stalling(MOCK, clock=clock))
    waits_ms = {row.t_due_ns // MS: ((row.t_first_ns or 0) - row.t_due_ns) / MS for row in rows}
    assert sorted(waits_ms) == list(range(0, 3000, 10))
    assert all(wait == max(2000 - due, 0) + 20 for due, wait in waits_ms.items() if due >= 1000)


def test_a_client_that_is_held_up_sends_late_and_says_so() -> None:
    class HoldingUp(MockEngine):
        async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
            if request.session_id == "s5":
                time.sleep(0.2)
            return await super().submit(request, sink)

    rows: list[TurnRow] = []

    async def main() -> None:
        clock = RealClock()
        load = ConstantLoadSpec(kind="constant", sessions_per_s=200)
        quick = MockEngineSpec(kind="mock", ttft_ms=0, tpot_ms=0)
        driver = Driver(HoldingUp(quick, clock=clock), clock, CountedPrompts(), rows.append, spec(load))
        await driver.drive([chain(f"s{i}", 1) for i in range(60)])

    asyncio.run(asyncio.wait_for(main(), 30))
    rows.sort(key=lambda row: row.t_due_ns)
    assert {later.t_due_ns - row.t_due_ns for row, later in pairwise(rows)} == {5 * MS}
    assert all(row.t_send_ns >= row.t_due_ns for row in rows)
    assert rows[6].t_send_ns - rows[6].t_due_ns > 190 * MS
    assert rows[26].t_send_ns - rows[26].t_due_ns > 90 * MS


def test_requests_are_made_before_they_are_due_and_not_all_at_once() -> None:
    made: list[tuple[str, float]] = []

    class Noting(MockEngine):
        def prepare(self, request: TurnRequest) -> TurnRequest:
            made.append((request.session_id, self._clock.now_ns() / MS))
            return request

    def noting(clock: Any) -> Noting:
        return Noting(MOCK, clock=clock)

    drive([chain("a", 2, delay_s=1.0)], ClosedLoadSpec(kind="closed", concurrency=1), engine=noting)
    assert made == [("a", 0), ("a", 35 + 1000 - 20)]
    made.clear()
    drive([chain(f"s{i}", 1) for i in range(3)], ClosedLoadSpec(kind="closed", concurrency=1), engine=noting)
    assert made == [("s0", 0), ("s1", 0), ("s2", 35)]
    made.clear()
    load = ConstantLoadSpec(kind="constant", sessions_per_s=1000)
    drive([chain(f"s{i}", 1) for i in range(600)], load, engine=noting)
    assert len(made) == 600
    assert sum(at_ms == 0 for _, at_ms in made) < 300


def test_tokens_are_shared_in_the_order_of_sending() -> None:
    order: list[int] = []

    class Counting(CountedPrompts):
        def shared_tokens(self, turn: Any, play: int = 0) -> int:
            order.append(turn.prompt[0].tokens)
            return len(order)

    sessions = [chain("a", 2, delay_s=0.02), *(chain(f"s{i}", 1) for i in range(4))]
    rows, _ = drive(sessions, ClosedLoadSpec(kind="closed", concurrency=2), prompts=Counting())
    rows.sort(key=lambda row: row.shared_tokens)
    assert [row.shared_tokens for row in rows] == list(range(1, 7))
    assert [row.t_send_ns for row in rows] == sorted(row.t_send_ns for row in rows)


def test_branches_that_fail_end_their_session_and_no_other() -> None:
    fan = Session("fan", (turn(0, ()), turn(1, (0,)), turn(2, (0,)), turn(3, (1, 2)), turn(4, (3,))))
    failing = MockEngineSpec(kind="mock", ttft_ms=20, tpot_ms=5, fail_every=2)
    rows, driver = drive(
        [fan, chain("next", 1)],
        ClosedLoadSpec(kind="closed", concurrency=1),
        engine=lambda clock: MockEngine(failing, clock=clock),
    )
    assert [(row.session_id, row.turn_index, row.status) for row in rows] == [
        ("fan", 0, "ok"),
        ("fan", 1, "failed"),
        ("fan", 2, "ok"),
        ("next", 0, "failed"),
    ]
    assert sum(driver.progress.not_sent.values()) == 2


def test_sessions_the_end_cuts_are_named_and_those_not_begun_are_only_counted() -> None:
    sessions = [chain("long", 10, delay_s=1.0), chain("late", 3)]
    _, driver = drive(sessions, ClosedLoadSpec(kind="closed", concurrency=1), max_seconds=2.5)
    assert driver.progress.cut_sessions == {"long"}
    assert dict(driver.progress.not_sent) == {"the time to send was over": 10}
    arriving = PoissonLoadSpec(kind="poisson", sessions_per_s=1.0)
    rows, driver = drive([chain(f"s{i}", 1) for i in range(50)], arriving, max_seconds=20.0)
    assert len(rows) + driver.progress.not_sent["the time to send was over"] == 50
    assert driver.progress.cut_sessions == set()


@pytest.mark.parametrize(
    ("sessions", "load"),
    [
        ([chain("slow", 2, delay_s=3600.0)], ClosedLoadSpec(kind="closed", concurrency=1)),
        ([chain("a", 1), chain("b", 1)], ConstantLoadSpec(kind="constant", sessions_per_s=1 / 3600)),
    ],
    ids=["delay", "arrival"],
)
def test_a_run_does_not_wait_for_what_is_due_after_its_end(sessions: list[Session], load: LoadSpec) -> None:
    async def main() -> tuple[Driver, int]:
        clock = VirtualClock()
        rows: list[TurnRow] = []
        driver = Driver(
            MockEngine(MOCK, clock=clock), clock, CountedPrompts(), rows.append, spec(load, max_seconds=5.0)
        )
        await driver.drive(sessions)
        return driver, clock.now_ns()

    driver, ended_ns = run_virtual(main())
    assert driver.progress.turns_done == 1
    assert driver.progress.not_sent == {"the time to send was over": 1}
    assert ended_ns == 5000 * MS
