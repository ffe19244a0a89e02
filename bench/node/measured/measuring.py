"""The measured part of a node's description, from a process of its own that may crash, hang or lose its GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.node.measured.company import Company
from bench.node.measured.figure import Figure, absent
from bench.node.measured.messages import Begun, Job, Ready, Report, Told
from bench.node.measured.process import WORKER, FailedError, MeasuringProcess

Hear = Callable[[str, Figure], None]
"""Hears of each figure as it is known."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds until a process that says nothing is taken to hang."""

    start: float = 90.0
    """Until it is ready."""
    grace: float = 30.0
    """Over what a figure was to take: nothing interrupts a trial, and CUDA starts within the first figure of a GPU."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a process that was not done. Another one went on where there was time."""

    code: str
    """`crashed`, `hung` or `device_lost`."""
    during: tuple[str, ...]
    """The figures that it was about; none where it had not begun."""
    message: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured, and how that went."""

    began_utc: str
    seconds: float
    """Allowed, from when the process was ready."""
    seconds_taken: float
    """Starts of processes included."""
    torch: str | None
    """Its version; null where no process was ever ready."""
    threads: int | None
    """Most that computed for a figure of the host."""
    others_cpu_share: float | None
    """What others took of the processors' time meanwhile; null where the kernel does not tell."""
    failures: tuple[Failure, ...]
    figures: Mapping[str, Figure]

    def as_dict(self) -> dict[str, Any]:
        """The figures by name under `measured`, and all else under `measurement`."""
        about = asdict(self)
        return {"measured": about.pop("figures"), "measurement": about}


def measure(
    seconds: float, folder: Path, hear: Hear, worker: str = WORKER, patience: Patience = Patience()
) -> Measurement:
    """Measure this machine within about `seconds`, the starts of processes apart.

    `folder` is on the file system whose disk is read. Whatever fails is told in the measurement.
    """
    began, began_utc = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    listener, company = _Listener(seconds, hear, patience), Company()
    while listener.goes_on:
        listener.listen(worker, folder)
    listener.give_up()
    return Measurement(
        began_utc=began_utc,
        seconds=seconds,
        seconds_taken=time.monotonic() - began,
        torch=listener.torch,
        threads=listener.threads,
        others_cpu_share=company.share(),
        failures=tuple(listener.failures),
        figures=listener.in_order(),
    )


class _Listener:
    """Keeps what is told by one process, and by another where the first one failed."""

    def __init__(self, seconds: float, hear: Hear, patience: Patience) -> None:
        self.figures: dict[str, Figure] = {}
        self.failures: list[Failure] = []
        self.torch: str | None = None
        self.threads: int | None = None
        self._seconds = seconds
        self._hear = hear
        self._patience = patience
        self._planned: tuple[str, ...] | None = None
        self._during: tuple[str, ...] = ()
        self._started = 0.0
        self._start_seconds: float | None = None
        """What the last start took; known once a process was ready, as is `_end`."""
        self._end = 0.0
        """When the time is over."""

    @property
    def goes_on(self) -> bool:
        """Whether a process is to be started: there was none, or one failed and time is left for another.

        After one that failed before it began anything there is none: the next would do the same.
        """
        if self.failures and not self.failures[-1].during:
            return False
        return self._planned is None or (bool(self._missing()) and self._seconds_left() > 0)

    def listen(self, worker: str, folder: Path) -> None:
        """Have a process measure what is missing, and keep what it tells until it is done or fails."""
        job = Job(self._seconds_left(), str(folder), frozenset(self.figures))
        self._started, self._during = time.monotonic(), ()
        limit = self._patience.start if self._start_seconds is None else self._start_seconds + self._patience.grace
        try:
            with MeasuringProcess(worker, job) as process:
                while (report := process.next_report(limit)) is not None:
                    limit = self._heed(report)
        except FailedError as failed:
            self._failed(failed)

    def give_up(self) -> None:
        """Have every figure that is missing say why."""
        why = (
            f"not begun: {self.failures[-1].message}" if self.failures else "the process that measures did not tell it"
        )
        self._keep({name: absent(why) for name in self._missing()})

    def in_order(self) -> dict[str, Figure]:
        """As they were planned."""
        return {name: self.figures[name] for name in self._planned or ()}

    def _heed(self, report: Report) -> float:
        """Keep a report; returns the seconds until the next one is due."""
        match report:
            case Ready(names, torch, threads):
                self.torch, self.threads = torch, threads
                self._ready(names)
            case Begun(names, seconds):
                self._during = names
                return seconds + self._patience.grace
            case Told(figures):
                self._keep(figures)
        return self._patience.grace

    def _failed(self, failed: FailedError) -> None:
        self.failures.append(Failure(failed.code, self._during, str(failed)))
        # A device may be found lost after its figure was told.
        self._keep({name: absent(str(failed)) for name in self._during if name not in self.figures})

    def _ready(self, names: tuple[str, ...]) -> None:
        if self._start_seconds is None:
            self._end = time.monotonic() + self._seconds
        self._planned = names
        self._start_seconds = time.monotonic() - self._started

    def _seconds_left(self) -> float:
        """From when a process that is started now is ready."""
        if self._start_seconds is None:
            return self._seconds
        return self._end - time.monotonic() - self._start_seconds

    def _missing(self) -> list[str]:
        return [name for name in self._planned or () if name not in self.figures]

    def _keep(self, figures: Mapping[str, Figure]) -> None:
        self.figures |= figures
        for name, one in figures.items():
            self._hear(name, one)
