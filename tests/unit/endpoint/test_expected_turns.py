"""Connections that are opened before the turns they are for."""

from __future__ import annotations

import asyncio
from typing import Any

from endpoint_asking import endpoint
from mock_serving import AT_ONCE, get, serving

from bench.engine.mock_server.settings import MockServerSettings


def test_there_is_a_connection_for_each_turn_that_is_expected_and_none_is_opened_twice() -> None:
    async def expecting(url: str, *turns: int) -> dict[str, Any]:
        engine = endpoint(url)
        await engine.start()
        for number in turns:
            await asyncio.wait_for(engine.expect(number), 20)
        described = engine.describe()
        await engine.stop()
        return described

    with serving(MockServerSettings(**AT_ONCE)) as url:
        described = asyncio.run(expecting(url, 3, 300, 2))
        opened_at_the_server = get(url, "/truth").json["connections"] - 1
    assert described["connections"]["opened"] == opened_at_the_server == 300


def test_a_server_that_takes_no_more_connections_is_no_failure_before_one_is_missed() -> None:
    async def expecting_in_vain() -> int:
        with serving(MockServerSettings(**AT_ONCE)) as url:
            engine = endpoint(url)
            await engine.start()
        opened: int = engine.describe()["connections"]["opened"]
        await asyncio.wait_for(engine.expect(1000), 20)
        opened_since: int = engine.describe()["connections"]["opened"] - opened
        await engine.stop()
        return opened_since

    assert asyncio.run(expecting_in_vain()) == 0
