"""The live display of a run, on stderr: what is measured, how far it is, how fast tokens come."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from bench.core.records import Counters, Progress

_LINE_INTERVAL_S = 10.0


class LiveProgress:
    """A moving bar on a terminal; elsewhere (CI logs) a plain line when a phase begins and every ten seconds."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} turns  {task.fields[note]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._name = ""
        self._phase = ""
        self._last: tuple[float, int] | None = None
        self._rate = 0.0
        self._next_line_s = 0.0

    def __enter__(self) -> LiveProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def case(self, name: str, index: int, total: int) -> None:
        self._name = name if total == 1 else f"[{index}/{total}] {name}"
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(self._name, total=0, note="")

    def phase(self, text: str) -> None:
        self._phase = text
        self._last = None
        self._rate = 0.0
        if self._bar.disable:
            self._line(text)
        elif self._task is not None:
            self._bar.update(self._task, description=f"{self._name}: {text}", note="")

    def tick(self, progress: Progress, counters: Counters) -> None:
        now_s = time.monotonic()
        done = progress.turns_done + progress.turns_failed
        self._rate = self._smoothed_rate(now_s, counters.output_tokens or progress.output_tokens)
        note = f"{self._rate:,.0f} tok/s  {progress.sessions_alive} sessions"
        if progress.turns_failed:
            note += f"  {progress.turns_failed} failed"
        if self._task is not None and not self._bar.disable:
            self._bar.update(self._task, completed=done, total=progress.turns_planned, note=note)
        elif now_s >= self._next_line_s:
            self._line(f"{self._phase}: {done}/{progress.turns_planned} turns  {note}")

    def _smoothed_rate(self, now_s: float, tokens: int) -> float:
        """Tokens a second since the last tick, averaged with what was shown so that the figure can be read."""
        last, self._last = self._last, (now_s, tokens)
        if last is None or now_s <= last[0]:
            return self._rate
        rate = max(0, tokens - last[1]) / (now_s - last[0])
        return rate if self._rate == 0.0 else 0.7 * self._rate + 0.3 * rate

    def _line(self, text: str) -> None:
        self._next_line_s = time.monotonic() + _LINE_INTERVAL_S
        self._console.print(f"{self._name}: {text}", markup=False, highlight=False, soft_wrap=True)
