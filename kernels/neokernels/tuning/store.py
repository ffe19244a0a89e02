"""Every measurement of a device in one file, a line each; which schedule is best is a question asked of it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

from neokernels.tuning.measurement import Measurement, reading_order


class StoreError(Exception):
    """A file that holds no measurements, or takes none; one line that names it."""


class MeasurementLog:
    """An append-only file of measurements, JSON Lines, and what it held when it was opened.

    A row is with the operating system once `append` returns, so that a killed process loses none; half a line that one
    may leave is cut off by the next that opens the file. Only one process at a time may have it open.
    """

    def __init__(self, path: Path) -> None:
        """Raises StoreError where the file is another tuner's, cannot be written or holds something else."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{path}: another process is tuning into it") from error
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {error.strerror}") from error
        self.path = path
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        self.rows = _parsed(path, content[:whole])
        self._file.truncate(whole)

    def append(self, row: Measurement) -> None:
        """Raises StoreError where the disk refuses."""
        try:
            self._file.write(json.dumps(row.as_dict(), allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from error
        self.rows.append(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_measurements(path: Path) -> list[Measurement]:
    """The measurements of a file, without what a crash left of its last line. Raises StoreError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    return _parsed(path, content[: content.rfind(b"\n") + 1])


def winners(rows: Iterable[Measurement], sources: Mapping[str, str]) -> list[Measurement]:
    """The best schedule of each kernel's problem, by kernel and problem.

    `sources` is the hash of each kernel's source: rows of other source, and of kernels that are not named, do not
    count, nor do those of another stack than the newest row of the problem has.
    """

    def key(row: Measurement) -> tuple[str, str]:
        return row.kernel, row.problem_key

    current = sorted((row for row in rows if sources.get(row.kernel) == row.source_sha), key=key)
    best = (best_of(list(group)) for _, group in groupby(current, key))
    return sorted((row for row in best if row), key=lambda row: (row.kernel, reading_order(row.problem)))


def best_of(rows: Sequence[Measurement]) -> Measurement | None:
    """The best of one problem's measurements, oldest first; None where none succeeded.

    The last round that was final decides alone: the best of many candidates was lucky, too. Without one it is the
    latest round with the fewest candidates.
    """
    of_stack = [row for row in rows if row.stack == rows[-1].stack]
    counted = last_final_round(of_stack) or list({row.config: row for row in of_stack}.values())
    able = [(row.method.round, row) for row in counted if row.method and row.status == "measured"]
    return min(able, key=lambda ranked: (-ranked[0], ranked[1].p50_us), default=(0, None))[1]


def last_final_round(rows: Sequence[Measurement]) -> list[Measurement]:
    """The measurements of one problem that were taken together, last; empty where no search came so far."""
    finals = [row for row in rows if row.method and row.method.final]
    return [row for row in finals if row.time == finals[-1].time]


def _parsed(path: Path, content: bytes) -> list[Measurement]:
    rows = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            rows.append(Measurement.from_dict(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path}:{number}: no measurement: {error!r}") from error
    return rows
