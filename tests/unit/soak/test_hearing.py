"""An engine that falls silent is told from one that has nothing to do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.core.clock import run_virtual
from bench.core.errors import EngineError
from bench.core.records import Counters, Progress, TurnRow
from bench.soak.hearing import Hearing, asked_no_longer_than


class Nobody:
    """Looks on and does nothing."""

    def case(self, name: str, index: int, total: int) -> None: ...

    def phase(self, text: str) -> None: ...

    def tick(self, progress: Progress, counters: Counters) -> None: ...


def row(first_ns: int | None) -> TurnRow:
    return TurnRow("s", 0, False, True, 8, 0, 4, 0, 0, t_first_ns=first_ns)


async def ask(hearing: Hearing, seconds: float, *, tokens: bool, alive: int) -> None:
    """So long something is asked, of which the counters say a token a second, or nothing."""
    progress = Progress(sessions_alive=alive)
    async with hearing.not_silent(10.0):
        for second in range(round(seconds)):
            await asyncio.sleep(1.0)
            hearing.tick(progress, Counters(output_tokens=second if tokens else 0))


def test_silence_is_a_failure() -> None:
    with pytest.raises(EngineError, match="neither token nor answer for 10 s"):
        run_virtual(ask(Hearing(Nobody()), 60, tokens=False, alive=1))


@pytest.mark.parametrize(("tokens", "alive"), [(True, 1), (False, 0)], ids=["answering", "not asked"])
def test_answering_and_not_being_asked_are_none(tokens: bool, alive: int) -> None:
    run_virtual(ask(Hearing(Nobody()), 60, tokens=tokens, alive=alive))


def test_turns_that_end_are_heard_with_the_first_token() -> None:
    logged: list[Any] = []
    hearing = Hearing(Nobody())
    log = hearing.through(logged.append)
    for first_ns in (None, 70, 50):
        log(row(first_ns))
    assert (hearing.turns, hearing.first_token_ns, len(logged)) == (3, 50, 3)


def test_a_start_that_does_not_end() -> None:
    async def start(limit_s: float | None) -> None:
        async with asked_no_longer_than(limit_s, "not ready"):
            await asyncio.sleep(100.0)

    with pytest.raises(EngineError, match="not ready for 30 s"):
        run_virtual(start(30.0))
    run_virtual(start(None))


def test_a_time_out_of_its_own_is_passed_on() -> None:
    async def fails() -> None:
        async with asked_no_longer_than(30.0, "not ready"):
            raise TimeoutError("of something else")

    with pytest.raises(TimeoutError, match="of something else"):
        run_virtual(fails())
