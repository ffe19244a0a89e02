"""What is watched is looked at when it is due, moves its own deadline and can be forgotten; none is beyond a clock."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError

from bench.core.clock import VirtualClock, run_virtual
from bench.core.spec import EndpointEngineSpec
from bench.core.units import NS_PER_MS, NS_PER_S
from bench.engine.http.deadlines import Deadlines


class Looked:
    """Wants to be looked at again at each of `again`."""

    def __init__(self, *again_ns: int) -> None:
        self._again = list(again_ns)
        self.at_ms: list[int] = []

    def look(self, now_ns: int) -> int | None:
        self.at_ms.append(round(now_ns / NS_PER_MS))
        return self._again.pop(0) if self._again else None


def test_each_is_looked_at_when_it_says() -> None:
    async def main() -> None:
        deadlines = Deadlines(VirtualClock().now_ns)
        late, early, both = Looked(), Looked(), Looked(7 * NS_PER_S, 0)
        deadlines.watch(late, 10 * NS_PER_S)
        deadlines.watch(early, NS_PER_S)
        deadlines.watch(both, NS_PER_S + 1)
        await asyncio.sleep(20)
        assert early.at_ms == [1000]
        assert late.at_ms == [10_000]
        assert both.at_ms == [1020, 7000, 7020]

    run_virtual(main())


@pytest.mark.parametrize("name", ["timeout_s", "connect_timeout_s", "stall_timeout_s"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e300])
def test_a_time_that_no_clock_reaches_is_no_deadline(name: str, seconds: float) -> None:
    with pytest.raises(ValidationError):
        EndpointEngineSpec(kind="endpoint", base_url="http://127.0.0.1:1", **{name: seconds})


def test_what_is_forgotten_is_not_looked_at() -> None:
    async def main() -> None:
        deadlines = Deadlines(VirtualClock().now_ns)
        kept, gone = Looked(), Looked()
        for watched in (kept, gone):
            deadlines.watch(watched, NS_PER_S)
        deadlines.forget(gone, NS_PER_S)
        deadlines.forget(gone, 0)
        await asyncio.sleep(2)
        assert (kept.at_ms, gone.at_ms) == ([1000], [])
        deadlines.watch(kept, 3 * NS_PER_S)
        deadlines.close()
        await asyncio.sleep(2)
        assert kept.at_ms == [1000]

    run_virtual(main())
