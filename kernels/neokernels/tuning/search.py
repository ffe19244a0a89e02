"""The search for a problem's best schedule: compile the candidates, then time them in turns and keep the faster half.

A device grows warm and slows down while it is timed, so every pass takes one sample of each candidate, forwards and
backwards by turns: what drifts, drifts for all. The best few of many are partly the luckiest, so they are timed once
more, with more samples, and that round decides (successive halving: Jamieson and Talwalkar 2016, arXiv:1502.07943).
What is one step from the fastest and was no candidate has its chance before.

Every round's measurements are appended to a log, and a round that stands there is not measured again: a search that was
interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from neokernels.roofline import KernelCeilings
from neokernels.tuning.inspection import Inspector
from neokernels.tuning.measurement import (
    MeasuredDevice,
    Measurement,
    Method,
    Resources,
    Stack,
    Status,
    Times,
    problem_key,
)
from neokernels.tuning.shortlist import neighbours, shortlist
from neokernels.tuning.space import Config, Problem, TunableKernel
from neokernels.tuning.store import MeasurementLog, best_of, last_final_round
from neokernels.tuning.timer import DeviceLostError, LaunchError, Timer, Timing


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard a search tries."""

    candidates: int = 48
    """Most that are compiled for a problem, but for neighbours of the fastest."""
    samples: int = 8
    """Of each candidate in a first round; they double from round to round."""
    finalists: int = 3
    """Timed again, beside the rule of thumb."""
    final_samples: int = 100
    seed: int = 0
    """Of the candidates that are drawn at random."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found. The two are of one round, so their quotient is what tuning gains."""

    best: Measurement | None
    """None where no candidate could be measured, or the kernel is not for the device."""
    heuristic: Measurement | None
    """Of the rule of thumb; None where it could not be measured."""


class Search:
    """Tunes kernels on one device."""

    def __init__(
        self,
        timer: Timer,
        inspector: Inspector,
        log: MeasurementLog,
        *,
        device: MeasuredDevice,
        stack: Stack,
        ceilings: KernelCeilings,
        now: Callable[[], str],
        effort: Effort = Effort(),
    ) -> None:
        """`now` tells the time in ISO 8601, never the same twice."""
        self.timer = timer
        self.inspector = inspector
        self.log = log
        self.device = device
        self.stack = stack
        self.ceilings = ceilings
        self.now = now
        self._effort = effort

    def tune(self, kernel: TunableKernel[Any], problem: Problem) -> Outcome:
        """Raises DeviceLostError where a candidate broke the device; the log says which, and it is not tried again."""
        effort, trials = self._effort, _Trials(self, kernel, problem)
        candidates = shortlist(kernel, problem, self.timer.device, limit=effort.candidates, seed=effort.seed)
        if not candidates:
            return Outcome(None, None)
        heuristic, before = candidates[0], best_of(trials.history)
        champion = [before.config] if before else []
        with trials:
            alive, number = self._screened(trials, trials.compiled(candidates, may_spill=heuristic), 0)
            near = neighbours(kernel, problem, self.timer.device, alive[0]) if alive else ()
            if late := [config for config in dict.fromkeys([*near, *champion]) if config not in candidates]:
                alive, number = self._screened(trials, [*alive, *trials.compiled(late)], number)
            finalists = [config for config in dict.fromkeys([*alive, *champion, heuristic]) if config in trials.able]
            rows = trials.round(finalists, number, effort.final_samples, final=True)
        return Outcome(rows[0] if rows else None, next((row for row in rows if row.config == heuristic), None))

    def _screened(self, trials: _Trials, configs: Iterable[Config], number: int) -> tuple[list[Config], int]:
        """The fastest of `configs`, by rounds from `number` on, and the number of the next round."""
        alive, samples = list(configs), self._effort.samples
        while len(alive) > self._effort.finalists:
            rows = trials.round(alive, number, samples)
            alive = [row.config for row in rows[: max(self._effort.finalists, len(rows) // 2)]]
            number, samples = number + 1, 2 * samples
        return alive, number

    def row(
        self, kernel: TunableKernel[Any], problem: Problem, config: Config, status: Status, time: str
    ) -> Measurement:
        """A measurement with nothing measured yet."""
        return Measurement(
            kernel=kernel.name,
            source_sha=kernel.source_sha(),
            problem=problem.as_dict(),
            config=config,
            device=self.device,
            stack=self.stack,
            status=status,
            time=time,
        )


class _Trials:
    """What was and is measured of one problem."""

    def __init__(self, search: Search, kernel: TunableKernel[Any], problem: Problem) -> None:
        self._search = search
        self._kernel = kernel
        self._problem = problem
        key, source_sha = problem_key(problem.as_dict()), kernel.source_sha()
        self.history = [
            row
            for row in search.log.rows
            if (row.kernel, row.source_sha, row.problem_key) == (kernel.name, source_sha, key)
            and (row.device, row.stack) == (search.device, search.stack)
        ]
        """Of this source, on this device, with this stack; oldest first."""
        self.able: dict[Config, Resources | None] = {}
        """What compiled and did not fail since."""
        self._opened = ExitStack()
        self._timing: Timing | None = None
        self._prepared: set[Config] = set()

    def __enter__(self) -> None:
        self._opened.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, DeviceLostError):
            self._fail(error.config, f"the device was lost: {error}")
        self._opened.__exit__(kind, error, trace)

    def compiled(self, candidates: Iterable[Config], may_spill: Config | None = None) -> Iterator[Config]:
        """The candidates that nothing speaks against. The rule of thumb may spill: it is what runs otherwise."""
        failed = {row.config for row in self.history if row.status != "measured"}
        new = [config for config in candidates if config not in failed]
        inspections = self._search.inspector.inspect(self._kernel, self._problem, new)
        for config, inspection in zip(new, inspections, strict=True):
            if inspection.refusal is None or (inspection.refusal == "spills" and config == may_spill):
                self.able[config] = inspection.resources
                yield config
            else:
                row = self._row(config, inspection.refusal, self._search.now())
                self._keep(replace(row, detail=inspection.detail, resources=inspection.resources))

    def round(self, configs: Sequence[Config], number: int, samples: int, *, final: bool = False) -> list[Measurement]:
        """The measured ones of `configs` by one round, fastest first: from the log, or from the device."""
        if final:
            known = {row.config: row for row in last_final_round(self.history)}
            if not known.keys() >= set(configs):
                known = {}  # they are compared with one another: all of them in one go, or not at all
        else:
            of_round = (row for row in self.history if row.method and row.method.round == number)
            known = {row.config: row for row in of_round if row.method and not row.method.final}
        for row in self._measured([config for config in configs if config not in known], number, samples, final):
            known[row.config] = row
        rows = [known[config] for config in configs if config in known and known[config].status == "measured"]
        return sorted(rows, key=lambda row: row.p50_us)

    def _measured(self, configs: Sequence[Config], number: int, samples: int, final: bool) -> Iterator[Measurement]:
        timing = self._open(configs)
        if timing is None:
            return
        ready = [config for config in configs if self._ready(timing, config)]
        taken = interleaved(timing, ready, samples)
        clocks, time, under = self._search.timer.clocks(), self._search.now(), timing.conditions
        work = self._kernel.work(self._problem)
        for config in ready:
            times, fault = Times.of(taken[config]), timing.fault(config)
            row = replace(
                self._row(config, "wrong" if fault else "measured", time),
                detail=fault,
                resources=self.able[config],
                method=Method(under.timer, under.cold_l2, under.copies, samples, number, final),
                times=times,
                roofline_fraction=self._search.ceilings.share(work, times.p50_us * 1e-6),
                clocks=clocks,
            )
            if fault:
                del self.able[config]
            yield self._keep(row)

    def _open(self, configs: Sequence[Config]) -> Timing | None:
        """The device with this problem on it; None where there is nothing to time, or the problem does not fit."""
        if self._timing is None and configs:
            try:
                self._timing = self._opened.enter_context(self._search.timer.on(self._kernel, self._problem))
            except LaunchError as error:
                for config in configs:
                    self._fail(config, str(error))
        return self._timing if configs else None

    def _ready(self, timing: Timing, config: Config) -> bool:
        if config not in self._prepared:
            try:
                timing.prepare(config)
            except LaunchError as error:
                self._fail(config, str(error))
                return False
            self._prepared.add(config)
        return True

    def _fail(self, config: Config, detail: str) -> None:
        self.able.pop(config, None)
        self._keep(replace(self._row(config, "failed", self._search.now()), detail=detail))

    def _row(self, config: Config, status: Status, time: str) -> Measurement:
        return self._search.row(self._kernel, self._problem, config, status, time)

    def _keep(self, row: Measurement) -> Measurement:
        self._search.log.append(row)
        self.history.append(row)
        return row


def interleaved(timing: Timing, configs: Sequence[Config], samples: int) -> dict[Config, list[float]]:
    """`samples` microseconds of each schedule, one a pass; every second pass goes backwards."""
    taken: dict[Config, list[float]] = {config: [] for config in configs}
    for number in range(samples):
        for config in configs if number % 2 == 0 else reversed(configs):
            taken[config].append(timing.sample_us(config))
    return taken
