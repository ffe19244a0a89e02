"""An engine that falls silent is told from one that has nothing to do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from bench.core.clock import VirtualClock, run_virtual
from bench.core.errors import EngineError
from bench.core.records import Counters, Progress, TurnRow, TurnStatus
from bench.core.units import NS_PER_S
from bench.soak.hearing import Hearing, asked_no_longer_than


class Nobody:
    """Looks on and does nothing."""

    def case(self, name: str, index: int, total: int) -> None: ...

    def phase(self, text: str) -> None: ...

    def tick(self, progress: Progress, counters: Counters) -> None: ...


def row(first_ns: int | None, sent_ns: int = 0) -> TurnRow:
    status: TurnStatus = "failed" if first_ns is None else "ok"
    return TurnRow(
        "s", 0, False, True, 8, 0, 4, 0, 0, t_send_ns=sent_ns, t_first_ns=first_ns, t_last_ns=first_ns, status=status
    )


async def ask(hearing: Hearing, seconds: float, *, tokens: bool, alive: int) -> None:
    """So long something is asked, of which the counters say a token a second, or nothing."""
    progress = Progress(sessions_alive=alive)
    async with hearing.not_silent(10.0):
        for second in range(round(seconds)):
            await asyncio.sleep(1.0)
            hearing.tick(progress, Counters(output_tokens=second if tokens else 0))


def test_silence_is_a_failure() -> None:
    with pytest.raises(EngineError, match="neither token nor answer for 10 s"):
        run_virtual(ask(Hearing(Nobody(), VirtualClock()), 60, tokens=False, alive=1))


@pytest.mark.parametrize(("tokens", "alive"), [(True, 1), (False, 0)], ids=["answering", "not asked"])
def test_answering_and_not_being_asked_are_none(tokens: bool, alive: int) -> None:
    run_virtual(ask(Hearing(Nobody(), VirtualClock()), 60, tokens=tokens, alive=alive))


def test_turns_that_end_are_heard_with_the_first_token() -> None:
    logged: list[Any] = []
    hearing = Hearing(Nobody(), VirtualClock())
    log = hearing.through(logged.append)
    for first_ns in (None, 70, 50):
        log(row(first_ns))
    assert (hearing.turns, hearing.first_token_ns, hearing.last_token_ns, len(logged)) == (3, 50, 70, 3)


@pytest.mark.parametrize(
    ("failures", "after_s", "told"),
    [(0, 60, None), (3, 2, None), (3, 60, "none of the last 3 requests was answered, for 59 s")],
    ids=["none failed", "a hiccup", "gone"],
)
def test_turns_that_fail_after_the_last_token_for_long_are_a_failure(
    failures: int, after_s: int, told: str | None
) -> None:
    async def ask() -> None:
        hearing = Hearing(Nobody(), VirtualClock())
        log = hearing.through(lambda _: None)
        log(row(NS_PER_S))
        for _ in range(failures):
            log(row(None, sent_ns=2 * NS_PER_S))
        await asyncio.sleep(after_s)
        hearing.refuse_unanswered()

    if told is None:
        run_virtual(ask())
        return
    with pytest.raises(EngineError, match=told):
        run_virtual(ask())


@pytest.mark.parametrize(
    ("failed_s", "found"),
    [
        ((), []),
        ((3, 7), []),
        ((3, 4, 9), [(2, 10)]),
        ((3, 9, 21, 29), [(2, 10), (20, 30)]),
        ((11, 19), []),
        ((31, 39), []),
    ],
    ids=["none failed", "a hiccup", "an outage", "two", "while another turn is answered", "to the end"],
)
def test_an_outage_that_ends_by_itself_lasts_from_token_to_token(
    failed_s: tuple[int, ...], found: list[tuple[int, int]]
) -> None:
    hearing = Hearing(Nobody(), VirtualClock())
    log = hearing.through(lambda _: None)
    for second in failed_s:
        log(row(None, sent_ns=second * NS_PER_S))
    for first, last in ((30, 30), (10, 20), (1, 2)):  # in no order, as several clients write them
        log(replace(row(first * NS_PER_S), t_last_ns=last * NS_PER_S))
    assert hearing.unanswered(0) == [(start * NS_PER_S, end * NS_PER_S) for start, end in found]
    assert hearing.unanswered(30 * NS_PER_S) == []


def test_tokens_that_are_counted_are_heard_before_their_turn_ends() -> None:
    async def ask() -> int | None:
        hearing = Hearing(Nobody(), VirtualClock())
        for second in range(5):
            await asyncio.sleep(1.0)
            hearing.tick(Progress(sessions_alive=1), Counters(output_tokens=min(second, 2)))
        return hearing.last_token_ns

    assert run_virtual(ask()) == 3 * NS_PER_S


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
