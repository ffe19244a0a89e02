"""Places are bounded, given back however a generation ends, and none is given once the door is closed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from bench.native.server.admission import Places
from bench.native.server.errors import ApiError


def test_places_are_taken_and_given_back() -> None:
    async def main() -> None:
        places = Places(3)
        async with places.enter(2), places.enter(1):
            assert places.taken == 3
            with pytest.raises(ApiError) as refused:
                async with places.enter(1):
                    raise AssertionError("nobody is let in")
            assert (refused.value.status, refused.value.retry_after_s, refused.value.type) == (
                429,
                1,
                "rate_limit_error",
            )
        with pytest.raises(ValueError, match="whatever"):
            async with places.enter(3):
                raise ValueError("whatever")
        assert places.taken == 0

    asyncio.run(main())


def test_more_than_there_will_ever_be_is_no_matter_of_waiting() -> None:
    async def main() -> None:
        with pytest.raises(ApiError) as refused:
            async with Places(3).enter(4):
                pass
        assert (refused.value.status, refused.value.param) == (400, "n")

    asyncio.run(main())


def test_a_closed_door_keeps_those_inside_and_says_why_it_closed_first() -> None:
    async def main() -> None:
        places = Places(3)
        async with AsyncExitStack() as inside:
            await inside.enter_async_context(places.enter(1))
            places.close("the end")
            places.close("another reason")
            with pytest.raises(ApiError) as refused:
                places.check_open()
            assert (refused.value.status, refused.value.message) == (503, "the end")
            empty = asyncio.create_task(places.emptied())
            await asyncio.sleep(0)
            assert not empty.done()
        await asyncio.wait_for(empty, 1)

    asyncio.run(main())
