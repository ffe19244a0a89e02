"""The mock engine ends every turn it takes, however early it is cancelled."""

from __future__ import annotations

import asyncio

import pytest
from endpoint_asking import Heard, asked, run

from bench.core.clock import RealClock
from bench.core.spec import MockEngineSpec
from bench.engine.mock import MockEngine


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("how", ["cancel", "stop"])
def test_a_turn_that_is_cancelled_ends_so(how: str, begun: bool) -> None:
    async def main() -> None:
        engine, heard = MockEngine(MockEngineSpec(kind="mock", ttft_ms=60_000), clock=RealClock()), Heard()
        handle = await engine.submit(asked(), heard)
        if begun:
            await asyncio.sleep(0)
        await (engine.cancel(handle) if how == "cancel" else engine.stop())
        assert heard.end.reason == "cancelled"
        assert engine.counters().running == 0

    run(main())
