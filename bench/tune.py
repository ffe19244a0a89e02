"""`bench tune`: the fastest schedule of each kernel for what models ask of it, measured on this machine's GPU."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from neokernels.cuda.catalogue import catalogue
from neokernels.cuda.requirements import OLDEST_CAPABILITY
from neokernels.device import DATASHEET_DEVICES, Device, cuda_device
from neokernels.roofline import KernelCeilings, measure_kernel_ceilings
from neokernels.tuning.cuda_timer import CudaTimer
from neokernels.tuning.inspection import AheadOfTime, Inspector
from neokernels.tuning.measurement import Clocks, MeasuredDevice, Measurement, Stack
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.search import Effort, Outcome, Search
from neokernels.tuning.shortlist import allowed, shortlist, space_size
from neokernels.tuning.space import Problem, TunableKernel
from neokernels.tuning.stack import current_stack
from neokernels.tuning.store import MeasurementLog, StoreError, last_final_round, read_measurements, winners
from neokernels.tuning.table import TableError, Winner, load_table, merged, save_table, slug, table_file
from neokernels.tuning.timer import DeviceLostError, Timer

from bench.core.errors import EngineError, InputError
from bench.core.host import usable_cpus
from bench.native.device import accelerator_ids
from bench.node.gpu import gpu_facts
from bench.node.gpu_clocks import gpu_clocks

Job = tuple[TunableKernel[Any], Problem]
Tell = Callable[[str], None]
"""Takes a line on how far the work is."""


@dataclass(frozen=True)
class Tuned:
    """What one kernel's problem came to."""

    kernel: str
    problem: Problem
    outcome: Outcome

    def as_dict(self) -> dict[str, Any]:
        best, heuristic = self.outcome.best, self.outcome.heuristic
        return {
            "kernel": self.kernel,
            "problem": self.problem.as_dict(),
            "config": best and dict(best.config),
            "times": best and best.times,
            "samples": best and best.method and best.method.samples,
            "roofline_fraction": best and best.roofline_fraction,
            "heuristic_p50_us": heuristic and heuristic.p50_us,
            "speedup": heuristic.p50_us / best.p50_us if best and heuristic else None,
        }


@dataclass(frozen=True)
class Planned:
    """What tuning one kernel's problem would try."""

    kernel: str
    problem: dict[str, Any]
    settings: int
    """Of all knobs."""
    allowed: int
    """That make sense for the problem."""
    compiled: int
    """Of these, the shortlist."""
    refused: dict[str, int]
    """Of the shortlist, by what was found when it was compiled."""
    launched: int
    """What is left to time."""


@dataclass(frozen=True)
class Workbench:
    """A GPU that is ready to be tuned on."""

    timer: Timer
    inspector: Inspector
    device: MeasuredDevice
    stack: Stack
    ceilings: KernelCeilings


def jobs(kernels: Sequence[str], models: Sequence[ModelShape]) -> list[Job]:
    """Every problem that `models` ask of the named kernels, or of all; without models, the kernels' own examples.

    Raises InputError for a kernel that is not known.
    """
    known = catalogue()
    for name in kernels:
        if name not in known:
            raise InputError("no such kernel", where=name, allowed=", ".join(known))
    return [
        (kernel, problem)
        for kernel in (known[name] for name in dict.fromkeys(kernels or known))
        for problem in dict.fromkeys(problem.bucket() for problem in _problems(kernel, models))
    ]


def _problems(kernel: TunableKernel[Any], models: Sequence[ModelShape]) -> Iterator[Problem]:
    if not models:
        yield from kernel.examples
    for model in models:
        yield from kernel.problems(model)


def plan(work: Sequence[Job], device: Device, effort: Effort, minutes: float | None, tell: Tell) -> Iterator[Planned]:
    """What tuning would try on `device`, which need not be there: candidates are compiled and none is launched.

    No job is begun after `minutes`.
    """
    with AheadOfTime(device, usable_cpus()) as inspector:
        for label, kernel, problem in _in_time(work, minutes, tell):
            tell(label)
            listed = shortlist(kernel, problem, device, limit=effort.candidates, seed=effort.seed)
            found = Counter(inspection.refusal for inspection in inspector.inspect(kernel, problem, listed))
            launched = found.pop(None, 0)
            yield Planned(
                kernel=kernel.name,
                problem=problem.as_dict(),
                settings=space_size(kernel),
                allowed=sum(1 for _ in allowed(kernel, problem, device)),
                compiled=len(listed),
                refused={str(refusal): count for refusal, count in sorted(found.items(), key=str)},
                launched=launched,
            )


def tune(
    work: Sequence[Job], bench: Workbench, database: Path, effort: Effort, minutes: float | None, tell: Tell
) -> Iterator[Tuned]:
    """Tune each job and keep every measurement in `database`; what stands there already is not measured again.

    No job is begun after `minutes`. Raises InputError where the database cannot be used, EngineError where a schedule
    broke the GPU for this process.
    """
    with _told(), MeasurementLog(database) as log:
        _refuse_foreign(log.rows, bench.device, database)
        search = Search(
            bench.timer,
            bench.inspector,
            log,
            device=bench.device,
            stack=bench.stack,
            ceilings=bench.ceilings,
            now=lambda: datetime.now(UTC).isoformat(timespec="microseconds"),
            effort=effort,
        )
        for label, kernel, problem in _in_time(work, minutes, tell):
            outcome = search.tune(kernel, problem)
            tell(f"{label}: {_in_short(outcome)}")
            yield Tuned(kernel.name, problem, outcome)


def _in_time(
    work: Sequence[Job], minutes: float | None, tell: Tell
) -> Iterator[tuple[str, TunableKernel[Any], Problem]]:
    """The jobs with what a line on them begins with, as long as there is time."""
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    for done, (kernel, problem) in enumerate(work):
        if deadline is not None and time.monotonic() > deadline:
            tell(f"out of time: {len(work) - done} of {len(work)} problems are left")
            return
        yield f"[{done + 1}/{len(work)}] {kernel.name}: {problem}", kernel, problem


def _in_short(outcome: Outcome) -> str:
    best = outcome.best
    return f"{best.p50_us:.3g} us with {best.config}" if best else "nothing to measure"


def _refuse_foreign(rows: Sequence[Measurement], device: MeasuredDevice, database: Path) -> None:
    others = {row.device.name for row in rows} - {device.name}
    if others:
        raise InputError(
            f"measurements of {', '.join(sorted(others))}", where=database, allowed=f"those of {device.name}"
        )


@contextmanager
def this_gpu() -> Iterator[Workbench]:
    """The machine's first GPU, its ceilings measured. Raises EngineError where there is none that kernels run on."""
    if not torch.cuda.is_available():
        raise EngineError("tuning needs a CUDA device, and none is usable here (allowed: --plan, --report, --export)")
    place = torch.device("cuda", 0)
    device, torch_facts = cuda_device(0), torch.cuda.get_device_properties(0)
    if device.capability < OLDEST_CAPABILITY:
        raise EngineError(f"kernels need a CUDA device of compute capability 8.0, and {device.name} is older")
    [id], driver_facts = accelerator_ids(place), gpu_facts()
    facts: dict[str, Any] = next((one for one in driver_facts["devices"] if one["id"] == id), {})
    measured = MeasuredDevice(
        name=device.name,
        capability=device.capability,
        multiprocessors=device.multiprocessors,
        l2_bytes=device.l2_bytes,
        memory_bytes=torch_facts.total_memory,
        power_limit_w=facts.get("power_limit_w"),
    )
    stack = current_stack(device, driver_facts["driver"])
    timer = CudaTimer(place, lambda: Clocks(**gpu_clocks(id)))
    with AheadOfTime(device, usable_cpus()) as inspector:
        yield Workbench(timer, inspector, measured, stack, measure_kernel_ceilings(place))


def planned_device(name: str | None) -> Device:
    """The device to plan for: by a part of its name, or else this machine's, or the first that needs no machine.

    Raises InputError where no known one has such a name.
    """
    if name is None:
        return cuda_device(0) if torch.cuda.is_available() else DATASHEET_DEVICES[0]
    found = [device for device in DATASHEET_DEVICES if slug(name) in slug(device.name)]
    if not found:
        raise InputError("no such device", where=name, allowed=", ".join(one.name for one in DATASHEET_DEVICES))
    return found[0]


def default_database(folder: Path, device_name: str | None = None) -> Path:
    """Where measurements of a device go; without a name, the one file there is. Raises InputError unless it is one."""
    if device_name is not None:
        return folder / f"{slug(device_name)}.jsonl"
    files = sorted(folder.glob("*.jsonl"))
    if len(files) != 1:
        there = ", ".join(file.name for file in files) or "no measurements"
        raise InputError(f"{folder} has {there}", where="--out", allowed="the file with the measurements")
    return files[0]


def measurements(database: Path, kernels: Sequence[str]) -> list[Measurement]:
    """Of the named kernels, or of all. Raises InputError where the file cannot be read, or has none of them."""
    with _told():
        rows = [row for row in read_measurements(database) if not kernels or row.kernel in kernels]
    if not rows:
        raise InputError("no measurements", where=database, allowed="a file that `bench tune` measured into")
    _refuse_foreign(rows, rows[-1].device, database)
    return rows


def export(rows: Sequence[Measurement], folder: Path) -> tuple[Path, int]:
    """Write the winners of today's source into the table of their device, beside what it has of other problems.

    Returns the file and how many there are. Raises InputError where the table cannot be read or written.
    """
    device = rows[-1].device.device
    file = table_file(folder, device.name)
    new = [Winner.of(row) for row in winners(rows, {name: one.source_sha() for name, one in catalogue().items()})]
    if not new:
        raise InputError("no kernel was measured as its source is now", where=device.name, allowed="to tune it again")
    with _told():
        save_table(file, merged(load_table(file, device) if file.exists() else None, device, new))
    return file, len(new)


def shares(rows: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Each problem's best measurement beside that of its rule of thumb, of the source that was measured last."""
    best = winners(rows, {row.kernel: row.source_sha for row in rows})
    return [_share(row, [other for other in rows if _subject(other) == _subject(row)]) for row in best]


def _subject(row: Measurement) -> tuple[object, ...]:
    return row.kernel, row.source_sha, row.problem_key, row.stack


def _share(best: Measurement, rows: Sequence[Measurement]) -> dict[str, Any]:
    kernel = catalogue().get(best.kernel)
    heuristic = None
    if kernel is not None and best.source_sha == kernel.source_sha():
        config = kernel.heuristic(kernel.problem_type(**best.problem), best.device.device)
        heuristic = next((row for row in last_final_round(rows) if row.config == config), None)
    return {
        "kernel": best.kernel,
        "problem": dict(best.problem),
        "config": dict(best.config),
        "p50_us": best.p50_us,
        "roofline_fraction": best.roofline_fraction,
        "heuristic_roofline_fraction": heuristic and heuristic.roofline_fraction,
        "date": best.time[:10],
    }


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the tuning's own files and devices refuse into what a user is told."""
    try:
        yield
    except (StoreError, TableError) as error:
        raise InputError(str(error)) from error
    except DeviceLostError as error:
        raise EngineError(
            f"{error.config} broke the GPU for this process: {error}; the same command again goes on without it"
        ) from error
