"""Running a case again and again on one engine, which is started again when it fails."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.core.clock import RealClock
from bench.core.errors import BenchError, EngineError, InputError, StorageError
from bench.core.interrupt import one_interrupt
from bench.core.protocols import Watch
from bench.core.spec import EndpointEngineSpec, MockEngineSpec, Spec
from bench.core.units import ns_from_seconds, seconds_from_ns
from bench.report.format import duration
from bench.results.folder import new_folder
from bench.results.soak_log import SEGMENTS, Began, Ended, Resumed, Segment, SoakLog, SoakWriter, read_soak
from bench.run import Prepared, prepare
from bench.soak.report import SoakReport, report_of, write_report
from bench.soak.segment import SILENCE_S, SegmentRun, Started

WAITS_S = (0.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Before each start that follows a failure. After as many failures in a row nobody would go on; one of an engine that
was up for longer than the last wait is the first of its row."""
_LONGEST_START = 5.0
"""A restart that takes so many times as long as the first start, and SILENCE_S beside, has failed."""

TIME_OVER = "its time was over"
INTERRUPTED = "interrupted"
LOST = f"the engine failed {len(WAITS_S) + 1} times in a row"


@dataclass(frozen=True)
class Soak:
    folder: Path
    report: SoakReport


def soak(spec: Spec, out: Path, *, seconds: float, watch: Watch, command: Sequence[str]) -> Soak:
    """Run `spec` for `seconds`, whatever `measure.repeats` says, in a new folder below `out`.

    Ended by Ctrl-C, it returns what there is. Raises InputError for what cannot be run, which leaves nothing;
    EngineError where the first start fails, and StorageError.
    """
    _refuse(spec)
    watch.case(spec.name, 1, 1)
    prepared = prepare(spec, watch.phase)
    folder = new_folder(out, f"soak-{spec.name}-{prepared.case.id[:8]}")
    writer = SoakWriter(folder)
    try:
        writer.append(Began, seconds=seconds, case=prepared.case)
    except StorageError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        return _run(prepared, writer, watch=watch, command=command)
    except InputError:
        if not read_soak(folder).segments:
            shutil.rmtree(folder)
        raise


def resume(folder: Path, *, watch: Watch, command: Sequence[str]) -> Soak:
    """Go on with the soak in `folder`, for the time it has left. Raises InputError where it has none or its case is
    another now, and what `soak` does.
    """
    log = read_soak(folder)
    if log.ended == TIME_OVER:
        raise InputError("the soak's time was over when it ended", where=folder, allowed="one that was cut off")
    spec = log.began.case.spec
    watch.case(spec.name, 1, 1)
    prepared = prepare(spec, watch.phase)
    if prepared.case.id != log.began.case.id:
        raise InputError("the model or the workload is another than when the soak began", where=folder)
    writer = SoakWriter(folder)
    kept = {segment.record for segment in log.segments}
    left = sorted(path.name for path in (folder / SEGMENTS).glob("*") if path.name not in kept)
    away_s = max(0.0, time.time() - log.last_unix_s)
    writer.append(Resumed, at_s=log.last_s + away_s, abandoned=left)
    return _run(prepared, writer, watch=watch, command=command)


def _run(prepared: Prepared, writer: SoakWriter, *, watch: Watch, command: Sequence[str]) -> Soak:
    running = _Running(prepared, writer, read_soak(writer.folder), watch, command)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(running.until_the_end())
    log = read_soak(writer.folder)
    report = report_of(log)
    write_report(log, report)
    return Soak(writer.folder, report)


class _Running:
    """A soak while this program lives."""

    def __init__(
        self, prepared: Prepared, writer: SoakWriter, log: SoakLog, watch: Watch, command: Sequence[str]
    ) -> None:
        self._prepared = prepared
        self._spec = prepared.case.spec
        self._writer = writer
        self._watch = watch
        self._command = command
        self._clock = RealClock()
        self._origin_ns = self._clock.now_ns() - ns_from_seconds(log.last_s)
        self._end_s = log.last_s + log.began.seconds - log.watched_s
        self._number = len(log.segments)
        self._starts = max((segment.engine for segment in log.segments), default=0)
        self._answered = any(segment.up_from_s is not None for segment in log.segments)
        self._first_start_s = log.engine_start_s
        self._started: Started | None = None
        """The engine that answers; None where one must be started."""

    async def until_the_end(self) -> None:
        """Raises what `soak` does."""
        async with one_interrupt():
            reason = INTERRUPTED
            try:
                reason = await self._segments()
            except asyncio.CancelledError:
                pass  # Ctrl-C: what there is, is the soak
            except BenchError as error:
                reason = str(error)
                raise
            finally:
                if self._started is not None:
                    await self._started.engine.stop()
                self._writer.append(Ended, at_s=self._now_s(), reason=reason)
                self._writer.close()

    async def _segments(self) -> str:
        """Run the case until the time is over or the engine does not come back; returns which."""
        failures = 0
        while self._now_s() < self._end_s:
            if failures > len(WAITS_S):
                return LOST
            run = await self._segment(wait_s=WAITS_S[failures - 1] if failures else 0.0)
            if run.failure is not None and not self._answered:
                raise EngineError(run.failure)
            if run.failure is None or run.up_s > WAITS_S[-1]:
                failures = 0
            failures += run.failure is not None
        return TIME_OVER

    async def _segment(self, wait_s: float) -> SegmentRun:
        """Run the case once and log it."""
        self._number += 1
        left_s = max(0.0, self._end_s - self._now_s())
        self._watch.case(f"{self._spec.name}: segment {self._number}, {duration(left_s)} left", 1, 1)
        run = SegmentRun(self._prepared, self._started, clock=self._clock, watch=self._watch)
        self._starts += run.starts_engine
        folder = self._writer.folder / SEGMENTS
        try:
            await run.measure(
                folder,
                self._command,
                again=self._answered,
                wait_s=wait_s,
                longest_start_s=self._longest_start_s(),
            )
        finally:
            self._started = run.started
            if run.record is not None:
                self._log(run)
        return run

    def _log(self, run: SegmentRun) -> None:
        answered_ns = run.answered_ns
        elsewhere = isinstance(self._spec.engine, EndpointEngineSpec | MockEngineSpec)
        started_s = None if run.startup is None or elsewhere else run.startup.total_s
        self._answered |= answered_ns is not None
        if self._first_start_s is None:
            self._first_start_s = started_s
        self._writer.append(
            Segment,
            record=run.record,
            engine=self._starts,
            start_s=self._seconds(run.start_ns),
            up_from_s=None if answered_ns is None else self._seconds(answered_ns),
            end_s=self._seconds(run.end_ns),
            gone_s=None if run.gone_ns is None else self._seconds(run.gone_ns),
            failure=run.failure,
            unanswered=[]
            if answered_ns is None
            else [(self._seconds(a_ns), self._seconds(b_ns)) for a_ns, b_ns in run.unanswered(answered_ns)],
            engine_start_s=started_s,
        )

    def _longest_start_s(self) -> float | None:
        """None for a first start, of which nobody knows how long it takes, and where the engine is not started here."""
        return None if self._first_start_s is None else SILENCE_S + _LONGEST_START * self._first_start_s

    def _now_s(self) -> float:
        return self._seconds(self._clock.now_ns())

    def _seconds(self, t_ns: int) -> float:
        """Since the soak began."""
        return seconds_from_ns(t_ns - self._origin_ns)


def _refuse(spec: Spec) -> None:
    """Raises InputError for settings that a soak cannot heed."""
    refused = {
        "load.search": (spec.load.search, "varies the load, and a soak keeps it"),
        "power.idle_s": (
            spec.power.idle_s,
            "waits before each segment, and an engine that failed is to answer at once",
        ),
    }
    for setting, (value, why) in refused.items():
        if value is not None:
            raise InputError(f"{setting} {why}", where=spec.name, allowed=f"{setting}: null")
