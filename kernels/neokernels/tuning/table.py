"""The schedules that won on a device, as they are reviewed and shipped, and how one is found for a problem.

One JSON file a device, a line a problem, so that a change of it reads like one of code.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import neokernels
from neokernels.device import Device
from neokernels.tuning.measurement import Measurement, problem_key, reading_order
from neokernels.tuning.schedules import Origin
from neokernels.tuning.space import Config, P, Problem, TunableKernel, Value

_FARTHEST = 3.0
"""Of the nearest problem, in powers of two over all batch fields together: a factor of 8."""


class TableError(Exception):
    """A file that is no table of this device; one line that names it."""


@dataclass(frozen=True, slots=True)
class Winner:
    """The best schedule of a problem, and what was measured of it."""

    kernel: str
    source_sha: str
    problem: Mapping[str, Value]
    config: Config
    p50_us: float
    roofline_fraction: float | None
    stack: Mapping[str, Any]
    date: str

    @staticmethod
    def of(row: Measurement) -> Winner:
        stack = {"triton": row.stack.triton, "ptxas": row.stack.ptxas, "driver": row.stack.driver}
        # Three digits: more of a time would differ with every tuning.
        share = None if row.roofline_fraction is None else round(row.roofline_fraction, 3)
        p50_us = float(f"{row.p50_us:.3g}")
        return Winner(row.kernel, row.source_sha, row.problem, row.config, p50_us, share, stack, row.time[:10])

    @property
    def key(self) -> tuple[str, str]:
        return self.kernel, problem_key(self.problem)

    def as_dict(self) -> dict[str, Any]:
        """Without its kernel, under whose name it stands."""
        return {
            "problem": dict(self.problem),
            "config": dict(self.config),
            "p50_us": self.p50_us,
            "roofline_fraction": self.roofline_fraction,
            "source_sha": self.source_sha,
            "stack": dict(self.stack),
            "date": self.date,
        }


class TunedTable:
    """Winners of one device; a `neokernels.tuning.schedules.Table`."""

    def __init__(self, device: Device, winners: Iterable[Winner]) -> None:
        self.device = device
        self.winners = tuple(winners)

    def find(self, kernel: TunableKernel[P], problem: P) -> tuple[Config, Origin] | None:
        """The schedule of the problem itself, `tuned`, or of the nearest one; None where none is near.

        Nearest is by powers of two between the batch fields; the other fields must be the same. A winner of other
        source than the kernel's is never `tuned`. What the kernel does not allow for the problem is not considered.
        """
        source_sha = kernel.source_sha()
        near = [
            (distance, winner.source_sha != source_sha, index)
            for index, winner in enumerate(self._by_kernel.get(kernel.name, ()))
            if (distance := _distance(winner, problem)) <= _FARTHEST and self._fits(winner, kernel, problem)
        ]
        if not near:
            return None
        distance, foreign, index = min(near)
        config = self._by_kernel[kernel.name][index].config
        return config, "nearest" if distance or foreign else "tuned"

    def _fits(self, winner: Winner, kernel: TunableKernel[P], problem: P) -> bool:
        knobs = {knob.name for knob in kernel.knobs}
        return set(winner.config) == knobs and kernel.allows(problem, winner.config, self.device)

    @cached_property
    def _by_kernel(self) -> dict[str, list[Winner]]:
        found: dict[str, list[Winner]] = {}
        for winner in self.winners:
            found.setdefault(winner.kernel, []).append(winner)
        return found


def _distance(winner: Winner, problem: Problem) -> float:
    """Infinite where anything but a batch field differs."""
    wanted, had = problem.as_dict(), winner.problem
    if wanted.keys() != had.keys():
        return math.inf
    total = 0.0
    for name, value in wanted.items():
        other = had[name]
        if name in problem.batch_fields and isinstance(other, int):
            total += abs(math.log2(max(1, int(value)) / max(1, other)))
        elif value != other:
            return math.inf
    return total


def slug(device_name: str) -> str:
    """A device's name as that of a file."""
    return re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-")


def table_file(folder: Path, device_name: str) -> Path:
    return folder / f"{slug(device_name)}.json"


def shipped_folder() -> Path:
    """Where the tables lie that engines look schedules up in."""
    return Path(neokernels.__file__).parent / "tuned"


def shipped_table(device: Device) -> TunedTable | None:
    """The table of `device`; None where nobody tuned on one. Raises TableError for a file that is none."""
    file = table_file(shipped_folder(), device.name)
    return load_table(file, device) if file.exists() else None


def load_table(file: Path, device: Device) -> TunedTable:
    """Raises TableError for a file that is no table, or one of another device."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["device"] != device.name:
            raise TableError(f"{file}: schedules of {content['device']}, not of {device.name}")
        listed = content["kernels"].items()
        return TunedTable(device, [_winner(name, values) for name, winners in listed for values in winners])
    except OSError as error:
        raise TableError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(f"{file}: no table of schedules: {error!r}") from error


def _winner(kernel: str, values: Mapping[str, Any]) -> Winner:
    problem, config = dict(values["problem"]), Config(**values["config"])
    return Winner(kernel, **{**values, "problem": problem, "config": config, "p50_us": float(values["p50_us"])})


def save_table(file: Path, table: TunedTable) -> None:
    """Write `table`, by kernel and problem, a line a winner. Raises TableError where the disk refuses."""
    kernels = []
    for name, winners in sorted(table._by_kernel.items()):
        lines = ",\n".join(
            f"   {json.dumps(winner.as_dict())}"
            for winner in sorted(winners, key=lambda one: reading_order(one.problem))
        )
        kernels.append(f"  {json.dumps(name)}: [\n{lines}\n  ]")
    body = ",\n".join(kernels)
    text = f'{{\n "device": {json.dumps(table.device.name)},\n "kernels": {{\n{body}\n }}\n}}\n'
    part = file.with_name(file.name + ".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError as error:
        raise TableError(f"{file}: cannot be written: {error.strerror}") from error


def merged(old: TunedTable | None, device: Device, new: Iterable[Winner]) -> TunedTable:
    """The winners of both, a new one in the place of the old one of its problem."""
    together = {winner.key: winner for winner in [*(old.winners if old else ()), *new]}
    return TunedTable(device, together.values())
