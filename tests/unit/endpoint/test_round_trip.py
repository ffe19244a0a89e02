"""Round trips go over a kept connection while nothing is measured, and what befalls one is no failure of the run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from endpoint_asking import MODELS, answering, ask, asked, chunked, endpoint, response, run, started, stream

WHOLE = chunked(stream("a", "b", "c", "d"))
NOT_FOUND = response(b"", status=404)


@asynccontextmanager
async def told(health: Callable[[asyncio.StreamWriter, int], Awaitable[None]]) -> Any:
    """A server whose answer to the n-th GET of /health, from 1, is what `health` writes; yields its URL and paths."""
    paths: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                paths.append((await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1])
                if paths[-1].endswith("/models"):
                    writer.write(response(MODELS))
                else:
                    await health(writer, sum(path.endswith("/health") for path in paths))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", paths
    finally:
        listening.close()


async def round_trips(url: str, **spec: Any) -> tuple[dict[str, Any] | None, dict[str, int]]:
    """What an engine says of its round trips and connections after it was started and stopped."""
    async with started(url, **spec) as engine:
        pass
    described = engine.describe()
    return described["round_trip_ms"], described["connections"]


@pytest.mark.parametrize("on_uvloop", [True, False])
def test_trips_before_and_after_are_no_part_of_the_run(on_uvloop: bool) -> None:
    async def main() -> None:
        async with answering(WHOLE) as server:
            async with started(server.url) as engine:
                before = engine.describe()["round_trip_ms"]
                assert (await ask(engine, asked())).tokens == 4
            after = engine.describe()
            assert server.connections == 1
            assert after["connections"] == {"opened": 1, "reused": 1, "reconnected": 0}
            trips = after["round_trip_ms"]
            assert [len(series) for series in trips["series"]] == [30, 30]
            assert trips["series"][:1] == before["series"]
            assert (trips["path"], trips["status"], trips["n"]) == ("/health", 200, 60)
            assert 0 < trips["min"] <= trips["p50"] <= trips["max"]

    run(main(), on_uvloop=on_uvloop)


def test_any_status_is_an_answer_and_the_path_lies_beside_the_apis_own() -> None:
    async def missing(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(NOT_FOUND)

    async def main() -> None:
        async with told(missing) as (url, paths):
            trips, _ = await round_trips(f"{url}/api/v1")
            assert trips is not None
            assert trips["status"] == 404
            assert set(paths) == {"/api/v1/models", "/api/health"}

    run(main())


def test_trips_last_at_least_as_long_as_the_server_waits() -> None:
    async def late(writer: asyncio.StreamWriter, number: int) -> None:
        await asyncio.sleep(0.01)  # timers may be early by a millisecond
        writer.write(NOT_FOUND)

    async def main() -> None:
        async with told(late) as (url, _):
            trips, _ = await round_trips(url)
            assert trips is not None
            assert trips["min"] >= 5

    run(main())


def test_a_series_ends_where_a_connection_does_and_no_other_is_opened() -> None:
    async def closes(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 8:
            writer.close()
        else:
            writer.write(NOT_FOUND)

    async def main() -> None:
        async with told(closes) as (url, _):
            trips, connections = await round_trips(url)
            assert trips is not None
            assert trips["n"] == 5  # the first two settle, the eighth was not answered
            assert connections == {"opened": 1, "reused": 0, "reconnected": 0}

    run(main())


def test_a_server_that_never_answers_there_costs_a_second_and_no_failure() -> None:
    async def silent(writer: asyncio.StreamWriter, number: int) -> None:
        pass

    async def main() -> None:
        async with told(silent) as (url, _):
            assert (await round_trips(url))[0] is None

    run(main())


def test_of_several_clients_none_takes_trips_while_another_may_still_send() -> None:
    async def main() -> None:
        async with answering(WHOLE) as server:
            trips, _ = await round_trips(server.url, processes=2)
            assert trips is not None
            assert [len(series) for series in trips["series"]] == [30]

    run(main())


def test_an_engine_that_was_not_started_took_none() -> None:
    async def main() -> None:
        engine = endpoint("http://127.0.0.1:9")
        await engine.stop()
        assert "round_trip_ms" not in engine.describe()

    run(main())
