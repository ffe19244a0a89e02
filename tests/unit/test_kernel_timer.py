"""The kernel's timer on an event loop: never early, the last time it was armed for, and over when it is closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
import uvloop

from bench.core.kernel_timer import KernelTimer
from bench.core.units import NS_PER_MS

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("new_loop", LOOPS)
def test_it_expires_once_for_each_time_and_never_early(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def expired_ns(due_ns: list[int]) -> list[int]:
        seen: list[int] = []
        one = asyncio.Event()

        def expired() -> None:
            seen.append(time.monotonic_ns())
            one.set()

        timer = KernelTimer(asyncio.get_running_loop(), expired)
        for t_ns in due_ns:
            one.clear()
            timer.arm(t_ns)
            await asyncio.wait_for(one.wait(), 20)
        timer.close()
        timer.close()
        return seen

    now_ns = time.monotonic_ns()
    due_ns = [now_ns + NS_PER_MS, now_ns + 3 * NS_PER_MS, now_ns, 0]
    with asyncio.Runner(loop_factory=new_loop) as runner:
        seen = runner.run(expired_ns(due_ns))
    assert len(seen) == len(due_ns)
    assert all(t_ns >= due for t_ns, due in zip(seen, due_ns, strict=True))


@pytest.mark.parametrize("new_loop", LOOPS)
def test_armed_anew_it_forgets_the_time_before(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def times_expired() -> int:
        seen: list[int] = []
        timer = KernelTimer(asyncio.get_running_loop(), lambda: seen.append(0))
        timer.arm(time.monotonic_ns() + NS_PER_MS)
        timer.arm(time.monotonic_ns() + 3600 * 1000 * NS_PER_MS)
        await asyncio.sleep(0.02)
        timer.close()
        return len(seen)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(times_expired()) == 0
