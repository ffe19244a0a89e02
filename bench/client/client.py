"""What a run needs of its client."""

from __future__ import annotations

from typing import Any, Protocol

from bench.core.records import ClientLoad, Counters, Progress


class Client(Protocol):
    @property
    def progress(self) -> Progress: ...

    @property
    def load(self) -> ClientLoad | None:
        """How busy it was while it drove; None before that is over, or where that was too short to see."""

    def counters(self) -> Counters: ...

    def describe(self) -> dict[str, Any]:
        """What its engines did, where the run's own engine cannot say; it goes into the record's `engine`."""

    async def drive(self) -> None:
        """Send everything. Cancelling this cancels what is in flight and logs it as cancelled.

        Raises EngineError when an engine or a client is lost.
        """
