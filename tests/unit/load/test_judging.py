"""Answers judged while the run goes on: text or tokens, right, wrong, and those that break their check."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest
from driving import CountedPrompts, spec, turn

from bench.core.clock import RealClock
from bench.core.protocols import Handle, Sink
from bench.core.records import Chunk, Finish, TurnRow
from bench.core.sessions import Check, Session, TurnRequest
from bench.core.spec import ClosedLoadSpec, MockEngineSpec, ReasoningSpec
from bench.engine.mock import MockEngine
from bench.load import checks
from bench.load.driver import Driver

SIX = Check("exact", "6")


class Saying(MockEngine):
    """Answers with what each session's id says, in pieces, after thinking of something else."""

    async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
        now_ns = self._clock.now_ns()
        sink.chunk(Chunk(now_ns, None, 1, "thinking", text="7", token_ids=(7,)))
        for piece in request.session_id:
            if piece.isdigit() and request.session_id.startswith("ids"):
                sink.chunk(Chunk(now_ns, None, 1, "answer", token_ids=(int(piece),)))
            elif piece.isdigit():
                sink.chunk(Chunk(now_ns, None, 1, "answer", text=piece))
        failed = request.session_id.startswith("fails")
        sink.finish(Finish(now_ns, "failed" if failed else "stop", error="declared" if failed else None))
        return Asked(request)


class Asked:
    def __init__(self, request: TurnRequest) -> None:
        self.request = request


def asked(name: str, check: Check | None = SIX) -> Session:
    return Session(name, (turn(0, (), check=check),))


def judged(*sessions: Session) -> dict[str, TurnRow]:
    rows: list[TurnRow] = []

    async def main() -> None:
        clock = RealClock()
        free = ReasoningSpec(kind="reasoning", sessions=1, length_mode="free")
        asking = spec(ClosedLoadSpec(kind="closed", concurrency=2)).model_copy(update={"workload": free})
        engine = Saying(MockEngineSpec(kind="mock"), clock=clock)
        await Driver(engine, clock, CountedPrompts(), rows.append, asking).drive(sessions)

    asyncio.run(asyncio.wait_for(main(), 60))
    return {row.session_id: row for row in rows}


def test_what_was_answered_after_the_thinking_is_judged() -> None:
    rows = judged(asked("6"), asked("7"), asked("ids 6"), asked("ids 7"), asked("fails 6"), asked("any 6", None))
    assert {name: row.correct for name, row in rows.items()} == {
        "6": True,
        "7": False,
        "ids 6": True,
        "ids 7": False,
        "fails 6": None,
        "any 6": None,
    }


def test_a_check_that_breaks_is_not_passed_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(check: Check, answer: str, limit_s: float) -> bool:
        raise RecursionError

    monkeypatch.setattr(checks, "passes", breaking)
    rows = judged(asked("6"), asked("66"))
    assert [row.correct for row in rows.values()] == [False, False]


def test_a_turn_after_a_judged_one_does_not_wait_for_the_judgement(monkeypatch: pytest.MonkeyPatch) -> None:
    sent_again = threading.Event()

    def waiting(check: Check, answer: str, limit_s: float) -> bool:
        return sent_again.wait(30)

    class Counting(CountedPrompts):
        asked = 0

        def shared_tokens(self, turn: object, play: int = 0) -> int:
            self.asked += 1
            if self.asked == 2:
                sent_again.set()
            return 0

    monkeypatch.setattr(checks, "passes", waiting)
    first = turn(0, (), check=SIX)
    session = Session("6", (first, replace(first, index=1, after=(0,), check=None)))
    rows: list[TurnRow] = []

    async def main() -> None:
        clock = RealClock()
        engine = Saying(MockEngineSpec(kind="mock"), clock=clock)
        await Driver(engine, clock, Counting(), rows.append, spec(ClosedLoadSpec(kind="closed", concurrency=1))).drive(
            [session]
        )

    asyncio.run(asyncio.wait_for(main(), 60))
    assert [(row.turn_index, row.correct) for row in rows] == [(1, None), (0, True)]
