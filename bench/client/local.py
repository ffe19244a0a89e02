"""A client in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.core.clock import Clock
from bench.core.protocols import Engine
from bench.core.records import ClientLoad, Counters, Progress, TurnRow
from bench.core.spec import Spec
from bench.load.client_watch import ClientWatch
from bench.load.driver import Driver
from bench.load.requests import Prompts
from bench.load.share import Share


class LocalClient:
    """Sends `share` through `engine`, which is started, and watches how busy that keeps this process."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        prompts: Prompts,
        log: Callable[[TurnRow], None],
        spec: Spec,
        share: Share,
    ) -> None:
        self._engine = engine
        self._share = share
        self._driver = Driver(engine, clock, prompts, log, spec)
        self._watch = ClientWatch(clock)

    @property
    def progress(self) -> Progress:
        return self._driver.progress

    @property
    def load(self) -> ClientLoad | None:
        """Of the time that was driven; None before that is over."""
        return self._watch.load

    def counters(self) -> Counters:
        return self._engine.counters()

    def describe(self) -> dict[str, Any]:
        """Nothing that the engine does not say."""
        return {}

    async def drive(self) -> None:
        """As `Driver.drive`."""
        async with self._watch:
            await self._driver.drive_share(self._share)
