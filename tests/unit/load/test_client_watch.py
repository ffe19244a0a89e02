"""How busy a client was: what it is told of a loop that is held up, and that the collector is as it was."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from bench.core.clock import RealClock, VirtualClock, run_virtual
from bench.core.records import ClientLoad
from bench.load.alarm import set_alarm
from bench.load.client_watch import ClientWatch, busiest
from bench.load.garbage import seldom_collected


def test_a_loop_that_is_held_up_is_late_for_every_time_it_missed() -> None:
    async def main() -> ClientLoad | None:
        async with ClientWatch(RealClock()) as watch:
            await asyncio.sleep(0.02)
            time.sleep(0.3)
            await asyncio.sleep(0.02)
        return watch.load

    load = asyncio.run(main())
    assert load is not None
    assert load.lag_max_ms >= 280
    assert load.lag_p50_ms >= 100
    assert load.processes == 1


def test_an_idle_client_on_virtual_time_is_never_late() -> None:
    async def main() -> ClientLoad | None:
        async with ClientWatch(VirtualClock()) as watch:
            await asyncio.sleep(1.005)
        return watch.load

    load = run_virtual(main())
    assert load is not None
    assert (load.lag_p50_ms, load.lag_max_ms) == (0, 0)


def test_work_is_counted_as_a_share_of_a_core() -> None:
    async def main() -> ClientLoad | None:
        async with ClientWatch(RealClock()) as watch:
            until_s = time.process_time() + 0.2
            while time.process_time() < until_s:
                await asyncio.sleep(0)
        return watch.load

    load = asyncio.run(main())
    assert load is not None
    assert 0 < load.cpu_share < 2


def test_nothing_is_said_of_a_moment() -> None:
    async def main() -> ClientLoad | None:
        async with ClientWatch(RealClock()) as watch:
            pass
        return watch.load

    assert asyncio.run(main()) is None


def test_of_several_clients_the_worst_figures_are_told() -> None:
    loads = [ClientLoad(1, 0.2, 1.0, 9.0, 10.0), ClientLoad(1, 0.8, 0.5, 2.0, 30.0)]
    assert busiest(loads) == ClientLoad(2, 0.8, 1.0, 9.0, 30.0)
    assert busiest([]) is None


def test_the_collector_is_as_before_when_the_run_fails() -> None:
    before = gc.get_threshold()

    def fail() -> None:
        with seldom_collected():
            assert gc.get_threshold() != before
            assert gc.get_freeze_count() > 0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_an_alarm_wakes_each_in_its_turn_and_none_early() -> None:
    woken: list[tuple[int, int]] = []

    async def main() -> None:
        clock = RealClock()
        alarm = set_alarm(clock)
        start_ns = clock.now_ns()

        async def wait(offset_ms: int) -> None:
            await alarm.until(start_ns + offset_ms * 1_000_000)
            woken.append((offset_ms, (clock.now_ns() - start_ns) // 1_000_000))

        given_up = asyncio.create_task(wait(3))
        waiting = [asyncio.create_task(wait(offset_ms)) for offset_ms in (30, 1, 12, 12, 0, -5)]
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait(waiting, timeout=30)
        alarm.close()
        alarm.close()

    asyncio.run(main())
    assert [offset_ms for offset_ms, _ in woken] == [0, -5, 1, 12, 12, 30]
    assert all(at_ms >= offset_ms for offset_ms, at_ms in woken)
