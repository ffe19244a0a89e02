"""The process that measures, as its parent sees it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import suppress
from types import TracebackType
from typing import Literal

from bench.core.module_process import how_it_ended, start_module
from bench.node.measured.messages import Job, Lost, Over, Report

WORKER = "bench.node.measured.worker"
_END_SECONDS = 5.0
"""Longest wait for the end of a process that was killed: one that a driver holds may stay."""


class FailedError(Exception):
    """A process that measures no more. Its text is what became of it."""

    def __init__(self, code: Literal["crashed", "hung", "device_lost"], message: str) -> None:
        super().__init__(message)
        self.code = code


class MeasuringProcess:
    """Runs `module` on `job`. It is gone when this is left, but for one that nothing can end."""

    def __init__(self, module: str, job: Job) -> None:
        # Libraries print as they like, and stdout is for one document.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process, self._connection = start_module(module, self._output)
        with suppress(OSError):  # that it is gone already is told by what it says next
            self._connection.send(job)

    def __enter__(self) -> MeasuringProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._output.close()

    def next_report(self, seconds: float) -> Report | None:
        """What it says next; None once everything was said. Raises FailedError, also after `seconds` without a word."""
        if not self._connection.poll(seconds):
            raise FailedError("hung", f"the process that measures said nothing for {seconds:.0f} s")
        try:
            report: Report | Lost | Over = self._connection.recv()
        except (EOFError, OSError):
            raise FailedError("crashed", f"the process that measures {self._how_it_ended()}") from None
        if isinstance(report, Lost):
            raise FailedError("device_lost", report.line)
        return None if isinstance(report, Over) else report

    def _how_it_ended(self) -> str:
        try:
            how = how_it_ended(self._process.wait(_END_SECONDS))
        except subprocess.TimeoutExpired:
            how = "closed its connection and stays"
        last = self._last_line()
        return f"{how}: {last}" if last else how

    def _last_line(self) -> str:
        # Read without moving: the child's descriptor shares this one's place in the file, and writes there.
        descriptor = self._output.fileno()
        printed = os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")
        return next((line.strip() for line in reversed(printed.splitlines()) if line.strip()), "")
