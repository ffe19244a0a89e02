"""One time that a soak runs its case, on an engine that is there or on one that is started for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.accuracy import start_checked
from bench.core.clock import Clock
from bench.core.errors import EngineError, InputError
from bench.core.protocols import Engine, Watch
from bench.core.records import Startup
from bench.core.units import seconds_from_ns
from bench.engine.build import build_engine
from bench.recording import Recording
from bench.run import Prepared, measure, prompts_of
from bench.soak.hearing import Hearing, asked_no_longer_than
from bench.workload.prompts import PromptSynthesizer

SILENCE_S = 600.0
"""An engine that was asked and gives nothing for so long, and the longest delay of the workload beside, has failed."""
_LAST_STEPS_S = 0.1
"""The rows of an engine's last steps come a moment after the last token; where it ends they come before that."""


@dataclass(frozen=True)
class Started:
    """An engine that answers."""

    engine: Engine
    accuracy: dict[str, Any] | None
    """What it was found to be when it started; None where it says so itself."""


class SegmentRun:
    """Runs the case once. What it says of itself stands when `measure` is left, however that is."""

    def __init__(self, prepared: Prepared, started: Started | None, *, clock: Clock, watch: Watch) -> None:
        """Without an engine that was `started` before, one is."""
        spec = prepared.case.spec
        self._prepared = prepared
        self._clock = clock
        self._hearing = Hearing(watch, clock)
        self._engine = (
            started.engine
            if started
            else build_engine(spec.engine, prepared.model, clock=clock, random_seed=spec.model.random_seed)
        )
        self.starts_engine = started is None
        self._accuracy = started.accuracy if started else None
        self.record: str | None = None
        """Name of the result; None where it left none."""
        self.startup: Startup | None = None
        """Of the engine, where this started it."""
        self.start_ns = self.end_ns = clock.now_ns()
        """The end is when all was answered, or what went wrong did: where the engine failed, when it was last heard."""
        self.gone_ns: int | None = None
        """When the engine had ended, after something went wrong."""
        self.failure: str | None = None
        """What the engine failed with."""

    @property
    def started(self) -> Started | None:
        """The engine, which goes on; None once something went wrong."""
        return None if self.gone_ns is not None else Started(self._engine, self._accuracy)

    @property
    def answered_ns(self) -> int | None:
        """When the engine was first seen to answer: from the start, where it was there before and gave a token."""
        first_ns = self._hearing.first_token_ns
        return first_ns if self.starts_engine or first_ns is None else self.start_ns

    @property
    def up_s(self) -> float:
        return 0.0 if self.answered_ns is None else seconds_from_ns(self.end_ns - self.answered_ns)

    def unanswered(self, since_ns: int) -> list[tuple[int, int]]:
        """When the engine answered nothing and then did again, of itself."""
        return self._hearing.unanswered(since_ns)

    async def measure(
        self, out: Path, command: Sequence[str], *, again: bool, wait_s: float, longest_start_s: float | None
    ) -> None:
        """Write one result folder below `out`, after `wait_s`. The engine goes on, unless something went wrong.

        An engine that fails is told in `failure`; so is one that refuses what it took before, which is what `again`
        says. Raises InputError, and leaves no result, where the case cannot be run, and StorageError.
        """
        recording = Recording(
            self._prepared.case,
            self._prepared.workload.source,
            self._engine,
            out,
            clock=self._clock,
            watch=self._hearing,
            command=command,
            model=self._prepared.model,
            keeps_engine=True,
        )
        self.record = recording.id
        try:
            async with recording:
                prompts = prompts_of(self._prepared, self._engine, recording.id)
                self.start_ns = self.end_ns = self._clock.now_ns()
                try:
                    await self._wait(wait_s)
                    recording.startup = await self._start(longest_start_s, again=again)
                    recording.accuracy = self._accuracy
                    await self._measure(recording, prompts)
                except BaseException as error:
                    self.end_ns = self._failed_ns() if isinstance(error, EngineError) else self._clock.now_ns()
                    # Now, and not when the record is written: that takes time which is no fault of the engine's.
                    await self._engine.stop()
                    self.gone_ns = self._clock.now_ns()
                    raise
        except EngineError as error:
            self.failure = str(error)
        except InputError:
            self.record = None
            raise

    def _failed_ns(self) -> int:
        """When the engine was last heard, which can be long before it was missed."""
        return max(self.start_ns, self._hearing.last_token_ns or 0)

    async def _wait(self, wait_s: float) -> None:
        if wait_s:
            self._hearing.phase(f"waiting {wait_s:g} s before the next start")
            await asyncio.sleep(wait_s)

    async def _start(self, longest_s: float | None, *, again: bool) -> Startup | None:
        """None for an engine that was started before."""
        if not self.starts_engine:
            return None
        spec, model = self._prepared.case.spec, self._prepared.model
        try:
            async with asked_no_longer_than(longest_s, "not ready"):
                self.startup, self._accuracy = await start_checked(
                    self._engine, spec, model, clock=self._clock, tell=self._hearing.phase
                )
        except InputError as error:
            if not again:
                raise
            # As memory that the engine before has not given back, or a GPU that is lost.
            raise EngineError(str(error)) from error
        return self.startup

    async def _measure(self, recording: Recording, prompts: PromptSynthesizer) -> None:
        watch, log = self._hearing, self._hearing.through(recording.turn)
        async with watch.not_silent(SILENCE_S + _longest_delay_s(self._prepared)):
            await measure(self._prepared, self._engine, prompts, recording, clock=self._clock, watch=watch, log=log)
        self.end_ns = self._clock.now_ns()
        watch.refuse_unanswered()
        await asyncio.sleep(_LAST_STEPS_S)


def _longest_delay_s(prepared: Prepared) -> float:
    turns = (turn for session in prepared.workload.sessions for turn in session.turns)
    return max((turn.delay_s for turn in turns), default=0.0) * prepared.case.spec.load.time_scale
