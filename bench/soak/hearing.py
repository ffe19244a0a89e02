"""What is heard of an engine while it is asked: its first token, and that it has not fallen silent."""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable

from bench.core.clock import Clock
from bench.core.errors import EngineError
from bench.core.protocols import Watch
from bench.core.records import Counters, Progress, TurnRow
from bench.core.units import seconds_from_ns

HICCUP_S = 5.0
"""Requests that fail for no longer, between two that are answered, are failures and no outage."""
_LOOK_S = 1.0


class Hearing:
    """A watch that passes on what it is told, and hears the log of turns too."""

    def __init__(self, watch: Watch, clock: Clock) -> None:
        self._watch = watch
        self._clock = clock
        self.turns = 0
        """Those that have ended, however they did."""
        self._tokens: int | None = None
        self._sessions_alive: int | None = None
        self.first_token_ns: int | None = None
        """When the first token of any turn came; None while none has."""
        self.last_token_ns: int | None = None
        """When the last one came, as far as is known: while turns go on, that is told a few times a second."""
        self.failed_since = 0
        """Turns that failed and gave no token after that one."""
        self._answers: list[tuple[int, int]] = []
        """First and last token of each turn that had any."""
        self._refused: list[int] = []
        """When each turn was sent that failed without a token."""

    def through(self, log: Callable[[TurnRow], None]) -> Callable[[TurnRow], None]:
        """`log`, heard on the way."""

        def heard(row: TurnRow) -> None:
            self.turns += 1
            if row.t_first_ns is not None:
                self.first_token_ns = min(row.t_first_ns, self.first_token_ns or row.t_first_ns)
            if row.t_first_ns is not None and row.t_last_ns is not None:
                self._answers.append((row.t_first_ns, row.t_last_ns))
                self._token(row.t_last_ns)
            elif row.status == "failed":
                self._refused.append(row.t_send_ns)
            self.failed_since += row.status == "failed" and row.t_send_ns > (self.last_token_ns or 0)
            log(row)

        return heard

    def case(self, name: str, index: int, total: int) -> None:
        self._watch.case(name, index, total)

    def phase(self, text: str) -> None:
        self._watch.phase(text)

    def tick(self, progress: Progress, counters: Counters) -> None:
        tokens = counters.output_tokens + progress.output_tokens
        if self._tokens is not None and tokens > self._tokens:
            self._token(self._clock.now_ns())
        self._tokens = tokens
        self._sessions_alive = progress.sessions_alive
        self._watch.tick(progress, counters)

    def refuse_unanswered(self) -> None:
        """Raises EngineError where every turn after the last token failed, for longer than a hiccup lasts.

        An endpoint that is gone fails turns, not runs.
        """
        if self.first_token_ns is None and self.turns:
            raise EngineError(f"none of {self.turns} requests was answered")
        silent_s = seconds_from_ns(self._clock.now_ns() - (self.last_token_ns or 0))
        if self.failed_since and silent_s > HICCUP_S:
            raise EngineError(f"none of the last {self.failed_since} requests was answered, for {silent_s:.3g} s")

    def unanswered(self, since_ns: int) -> list[tuple[int, int]]:
        """From the last token before to the first one after each time, from `since_ns` on, in which turns failed for
        longer than a hiccup lasts and none gave a token. What goes on until the end is not among them.
        """
        refused = sorted(self._refused)
        found, heard_ns = [], since_ns
        for first_ns, last_ns in sorted(self._answers) if refused else ():
            between = refused[bisect_right(refused, heard_ns) : bisect_right(refused, first_ns)]
            if between and seconds_from_ns(between[-1] - between[0]) > HICCUP_S:
                found.append((heard_ns, first_ns))
            heard_ns = max(heard_ns, last_ns)
        return found

    def _token(self, t_ns: int) -> None:
        if t_ns > (self.last_token_ns or 0):
            self.last_token_ns, self.failed_since = t_ns, 0

    @contextlib.asynccontextmanager
    async def not_silent(self, limit_s: float) -> AsyncIterator[None]:
        """Raises EngineError once nothing was heard for `limit_s` though something was asked."""
        async with asked_no_longer_than(limit_s, "neither token nor answer") as deadline:
            listening = asyncio.create_task(self._postpone(deadline, limit_s))
            try:
                yield
            finally:
                listening.cancel()
                await asyncio.wait({listening})

    async def _postpone(self, deadline: asyncio.Timeout, limit_s: float) -> None:
        heard = None
        while True:
            await asyncio.sleep(_LOOK_S)
            latest = (self.turns, self._tokens)
            if (latest != heard or self._sessions_alive == 0) and not deadline.expired():
                heard = latest
                deadline.reschedule(asyncio.get_running_loop().time() + limit_s)


@contextlib.asynccontextmanager
async def asked_no_longer_than(limit_s: float | None, missing: str) -> AsyncIterator[asyncio.Timeout]:
    """Raises EngineError where what is within takes longer; None is for as long as it takes."""
    try:
        async with asyncio.timeout(limit_s) as deadline:
            yield deadline
    except TimeoutError:
        if not deadline.expired():
            raise
        raise EngineError(f"silent: {missing} for {limit_s:g} s") from None
