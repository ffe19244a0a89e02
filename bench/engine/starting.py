"""What the start of an engine waits for while its process makes itself ready."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from bench.core.errors import BenchError

Ready = TypeVar("Ready")


class Starting(Generic[Ready]):
    """The first outcome counts, and none once nobody waits any more."""

    def __init__(self) -> None:
        """Needs a running event loop."""
        self._outcome: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()

    async def ready(self) -> Ready:
        """What the process told when it was ready. Raises what it failed with."""
        return await self._outcome

    def succeed(self, ready: Ready) -> None:
        if not self._outcome.done():
            self._outcome.set_result(ready)

    def fail(self, error: BenchError) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)
