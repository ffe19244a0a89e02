"""Real and virtual time behind one interface.

Both clocks are read in nanoseconds and both are slept on with `asyncio.sleep`. Under `VirtualTimeLoop` nothing waits:
when no callback is ready the loop's time jumps to the next timer, so an hour of load takes as long as its events do.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from bench.core.units import NS_PER_S, ns_from_seconds

T = TypeVar("T")


class Clock(Protocol):
    """One monotonic clock for a whole run."""

    def now_ns(self) -> int:
        """Nanoseconds since an origin that is fixed for the run."""


class RealClock:
    """The machine's monotonic clock; its origin is shared by every process of the machine."""

    def now_ns(self) -> int:
        return time.monotonic_ns()


class VirtualClock:
    """The time of the running `VirtualTimeLoop`."""

    def now_ns(self) -> int:
        return ns_from_seconds(asyncio.get_running_loop().time())


async def sleep_until(clock: Clock, t_ns: int) -> None:
    """Return at `t_ns` on `clock`, or at once if that has passed."""
    while (left_ns := t_ns - clock.now_ns()) > 0:
        await asyncio.sleep(left_ns / NS_PER_S)


class _JumpingSelector(selectors.SelectSelector):
    """Never blocks: the time it was asked to wait is added to the loop's clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("virtual time cannot pass: every task waits for something that will never happen")
        self.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock moves only when it has nothing left to do."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
