"""What is kept of a case while it runs, and the record it becomes however it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from bench.client.client import Client
from bench.core.clock import Clock
from bench.core.daemon_thread import in_daemon_thread
from bench.core.errors import EngineError, InputError, StorageError
from bench.core.protocols import Engine, Watch
from bench.core.records import Progress, Startup, TurnRow
from bench.core.spec import Case
from bench.core.work import Ceiling, ModelWork
from bench.hardware.ceiling import datasheet_ceiling
from bench.hardware.datasheet import name_patterns
from bench.hardware.power_figures import power_figures
from bench.metrics.context import HealthWatch, RunContext, Stop
from bench.metrics.power_facts import IdlePeriod, PowerFacts
from bench.node.fingerprint import fingerprint, hardware_key
from bench.node.health import HealthDevices, HealthRecorder, open_health
from bench.node.power import Sensors, no_sensors, open_sensors
from bench.node.power_recorder import PowerRecorder
from bench.node.provenance import provenance
from bench.node.sampler import PATIENCE_S
from bench.results.result import Result
from bench.results.store import ResultWriter
from bench.workload.workload import WorkloadSource

_TICK_S = 0.25
_LONGEST_OPENING_S = 120.0
"""Twice what the search of a controller may take."""

T = TypeVar("T")


class Recording:
    """The result of one case in the making.

    Left normally, after an engine failure or by Ctrl-C, it is finished with what it has. Left by an InputError it is
    thrown away: what cannot be run leaves no result.
    """

    def __init__(
        self,
        case: Case,
        source: WorkloadSource,
        engine: Engine,
        out: Path,
        *,
        clock: Clock,
        watch: Watch,
        command: Sequence[str],
        model: Path | None = None,
        keeps_engine: bool = False,
    ) -> None:
        """`model` is the folder that weights are read from; `keeps_engine` leaves the engine running where nothing went
        wrong."""
        folders = {"results": out} if model is None else {"results": out, "model": model}
        node = fingerprint(folders=folders)
        hardware = hardware_key(node, name_patterns())
        self._hardware = hardware.key
        self._case = case
        self._engine = engine
        self._keeps_engine = keeps_engine
        self._clock = clock
        self._watch = watch
        self._sensors: Sensors | None = None
        self._idle: IdlePeriod | None = None
        self._health: HealthDevices | None = None
        self._writer = ResultWriter(
            out,
            case=case,
            node={"hardware": asdict(hardware), **node},
            provenance=provenance(command),
            workload=asdict(source),
        )
        self._client: Client | None = None
        self._start_ns = self._end_ns = clock.now_ns()
        self._stopped: Stop | None = None
        self._stopped_because: str | None = None
        self.startup: Startup | None = None
        self.accuracy: dict[str, Any] | None = None
        """What the engine was found to be when it started; None where it says so itself."""

    @property
    def id(self) -> str:
        return self._writer.record.id

    @property
    def result(self) -> Result:
        return Result.open(self._writer.path)

    def turn(self, row: TurnRow) -> None:
        self._writer.append_turns([row])

    async def read_idle(self) -> None:
        """Read what the engine draws that is loaded and asked nothing, for as long as the case asks for, if it does."""
        seconds = self._case.spec.power.idle_s
        if seconds is None:
            return
        self._watch.phase("reading idle power")
        sensors = await self._open_sensors()
        if not sensors.sensors:
            return
        async with self._power_recorder(sensors):
            start_ns = self._clock.now_ns()
            await asyncio.sleep(seconds)
            self._idle = IdlePeriod(start_ns, self._clock.now_ns())

    @contextlib.asynccontextmanager
    async def measuring(self, client: Client) -> AsyncIterator[None]:
        """The part of the case that is measured: sensors are read, the display moves, and the time is the run's.

        Raises, when it is left without another failure, what broke the display or the log of the engine's steps.
        """
        self._client = client
        sensors = await self._open_sensors()
        self._health = await _opened(
            partial(open_health, self._engine.describe().get("accelerator_ids")), partial(HealthDevices, (), None)
        )
        async with (
            HealthRecorder(self._health, self._clock, self._writer.append_health),
            self._power_recorder(sensors),
        ):
            ticking = asyncio.create_task(self._tick(client))
            self._start_ns = self._clock.now_ns()
            try:
                yield
            finally:
                self._end_ns = self._clock.now_ns()
                ticking.cancel()
                (failure,) = await asyncio.gather(ticking, return_exceptions=True)
            if isinstance(failure, Exception):
                raise failure

    async def _open_sensors(self) -> Sensors:
        """Those of the accelerators that the engine, once started, says it uses; opened when they are first wanted."""
        if self._sensors is None:
            accelerator_ids = self._engine.describe().get("accelerator_ids")
            opening = partial(open_sensors, self._case.spec.power, accelerator_ids=accelerator_ids)
            self._sensors = await _opened(opening, no_sensors)
        return self._sensors

    def _power_recorder(self, sensors: Sensors) -> PowerRecorder:
        interval_s = self._case.spec.power.interval_s
        return PowerRecorder(sensors.sensors, self._clock, self._writer.append_power, interval_s)

    async def _tick(self, client: Client) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._keep_steps()
            self._watch.tick(client.progress, client.counters())

    def _keep_steps(self) -> None:
        if self._engine.step_log is not None:
            self._writer.append_steps(self._engine.step_log.take())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or not self._keeps_engine:
            await self._engine.stop()
        for opened in (self._sensors, self._health):
            if opened is not None:
                with contextlib.suppress(TimeoutError):  # what hangs is left behind
                    await asyncio.wait_for(in_daemon_thread(opened.close), PATIENCE_S)
        if isinstance(error, InputError):
            self._writer.discard()
            return
        if error is not None:
            self._stopped = _stop(error)
            self._stopped_because = str(error) or None
        with contextlib.suppress(StorageError):  # was told when it first happened, and `finish` tries once more
            self._keep_steps()
        self._finish()

    def _finish(self) -> None:
        # What numbers are made with takes a second to import, and no first turn is to wait for that.
        from bench.metrics.accuracy import judge
        from bench.metrics.summary import summarise

        tables = self._writer.tables()
        described = {**self._engine.describe(), **(self._client.describe() if self._client else {})}
        if self.accuracy is not None:
            described["accuracy"] = self.accuracy
        progress = self._client.progress if self._client else Progress()
        accuracy = judge(described)
        sensors = Sensors((), {}) if self._sensors is None else self._sensors
        context = RunContext(
            start_ns=self._start_ns,
            end_ns=self._end_ns,
            accelerators=described.get("accelerators", 0),
            stopped=self._stopped,
            stopped_because=self._stopped_because,
            power_missing=sensors.unread,
            not_sent=dict(progress.not_sent),
            client=self._client.load if self._client else None,
            cut_sessions=tuple(sorted(progress.cut_sessions)),
            work=described.get("work") and ModelWork(**described["work"]),
            ceilings=self._ceilings(described),
            accuracy_failure=accuracy.reason if accuracy.status == "failed" else None,
            health=_watched(self._health, described),
            power=PowerFacts(power_figures(self._hardware), sensors.missing, self._idle),
        )
        summary = summarise(
            self._case,
            context,
            turns=tables.turns,
            power=tables.power,
            steps=tables.steps,
            health=tables.health,
        )
        record = self._writer.record.with_sections(
            node={
                **self._writer.record.node,
                "power": sensors.describe(),
                "health": None if self._health is None else self._health.describe(),
            },
            run=asdict(context),
            startup=None if self.startup is None else asdict(self.startup),
            engine=described,
            accuracy=asdict(accuracy),
            **summary.sections(),
        )
        self._writer.finish(record)

    def _ceilings(self, described: Mapping[str, Any]) -> dict[str, Ceiling]:
        """What one accelerator can do by its datasheet, and what the engine measured before it was timed."""
        datasheet = datasheet_ceiling(self._hardware, described)
        ceilings = {} if datasheet is None else {"datasheet": datasheet}
        if measured := described.get("ceilings"):
            ceilings["measured"] = Ceiling(
                measured["read_bytes_per_s"], measured["gemm_flops_per_s"], "measured when the engine started"
            )
        return ceilings


async def _opened(opening: Callable[[], T], nothing: Callable[[str], T]) -> T:
    """What `opening` opens; where that does not end, `nothing` with the reason.

    On a thread: a meter on the network may take its time to answer, and a driver that hangs never does.
    """
    try:
        return await asyncio.wait_for(in_daemon_thread(opening), _LONGEST_OPENING_S)
    except TimeoutError:
        return nothing(f"something that was asked hangs: {_LONGEST_OPENING_S:g} s were not enough to open it all")


def _watched(health: HealthDevices | None, engine: Mapping[str, Any]) -> HealthWatch | None:
    """Whose health was watched; None where the run ended before it was measured."""
    if health is None:
        return None
    return HealthWatch(health.gpus_used, engine.get("device") == "cpu", health.hangs)


def _stop(error: BaseException) -> Stop:
    match error:
        case EngineError():
            return "engine_failed"
        case StorageError():
            return "storage_failed"
        case _:
            return "interrupted"
