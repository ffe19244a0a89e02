"""Steps on their device, one after another, whether or not the host waits for each.

A device executes what it is given in order: a GPU on its stream, a CPU in one thread when steps overlap, and otherwise
in line. Memory that a step in flight still uses may therefore be handed to the step after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bench.core.units import NS_PER_MS

Work = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class StepTime:
    """When a step ran. Steps follow one another: each begins, at the earliest, when the one before it ended."""

    t_ns: int
    duration_ns: int
    host_ns: int
    """The part of it in which there was something to do and the device waited for the host."""
    device_ns: int | None
    """How long a GPU was busy, by its own clock; None on a CPU, where device and host are one."""


class Pending(Protocol):
    """A step that was launched."""

    def result(self) -> tuple[tuple[Tensor, ...], StepTime]:
        """What its work gave, on the host, once it has ended. Raises what the work raised."""


class Executor(Protocol):
    def launch(self, work: Work, work_since_ns: int) -> Pending:
        """Run `work` behind all that was launched before. Since `work_since_ns` there has been something to do."""


def executor_for(device: torch.device, *, overlap: bool) -> Executor:
    """`overlap`: the host goes on while a step runs, which a GPU allows in any case."""
    if device.type == "cuda":
        return _Stream(device)
    return _Thread() if overlap else _InLine()


class _Timeline:
    """Runs work and knows when the one before it ended."""

    def __init__(self) -> None:
        self._ended_ns = 0

    def run(self, work: Work, work_since_ns: int) -> tuple[tuple[Tensor, ...], StepTime]:
        start_ns = max(work_since_ns, self._ended_ns)
        began_ns = time.monotonic_ns()
        try:
            result = work()
        finally:
            self._ended_ns = time.monotonic_ns()
        return result, StepTime(start_ns, self._ended_ns - start_ns, began_ns - start_ns, None)


class _InLine:
    def __init__(self) -> None:
        self._timeline = _Timeline()

    def launch(self, work: Work, work_since_ns: int) -> Pending:
        ran: Future[tuple[tuple[Tensor, ...], StepTime]] = Future()
        try:
            ran.set_result(self._timeline.run(work, work_since_ns))
        except (RuntimeError, MemoryError) as error:
            ran.set_exception(error)
        return ran


class _Thread:
    def __init__(self) -> None:
        self._timeline = _Timeline()
        # How many threads torch may use is asked for thread by thread.
        self._thread = ThreadPoolExecutor(1, "device", torch.set_num_threads, (torch.get_num_threads(),))

    def launch(self, work: Work, work_since_ns: int) -> Pending:
        return self._thread.submit(self._timeline.run, work, work_since_ns)


class _Stream:
    """The current stream of a GPU; what a step gives is copied to the host behind it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ended: torch.Event | None = None
        self._ended_ns = 0

    def launch(self, work: Work, work_since_ns: int) -> Pending:
        began, ended, copied = (torch.Event(self._device, enable_timing=True) for _ in range(3))
        began.record()
        try:
            result = work()
        except (RuntimeError, MemoryError) as error:
            failed: Future[tuple[tuple[Tensor, ...], StepTime]] = Future()
            failed.set_exception(error)
            return failed
        ended.record()
        on_host = tuple(map(_copied, result))
        copied.record()
        pending = _OnStream(self, on_host, (began, ended, copied), self._ended, work_since_ns)
        self._ended = ended
        return pending

    def time_of(
        self, began: torch.Event, ended: torch.Event, before: torch.Event | None, work_since_ns: int
    ) -> StepTime:
        """Of the step that just ended. Steps are asked for in the order they were launched in."""
        busy_ns = round(began.elapsed_time(ended) * NS_PER_MS)
        start_ns = max(work_since_ns, self._ended_ns)
        if before is not None and self._ended_ns >= work_since_ns:
            # By the device's own clock: the host may look at a step long after it ended.
            waited_ns = round(before.elapsed_time(began) * NS_PER_MS)
        else:
            waited_ns = max(0, time.monotonic_ns() - start_ns - busy_ns)
        self._ended_ns = start_ns + waited_ns + busy_ns
        return StepTime(start_ns, waited_ns + busy_ns, waited_ns, busy_ns)


@dataclass(frozen=True, slots=True)
class _OnStream:
    stream: _Stream
    on_host: tuple[Tensor, ...]
    events: tuple[torch.Event, torch.Event, torch.Event]
    before: torch.Event | None
    work_since_ns: int

    def result(self) -> tuple[tuple[Tensor, ...], StepTime]:
        began, ended, copied = self.events
        copied.synchronize()
        return self.on_host, self.stream.time_of(began, ended, self.before, self.work_since_ns)


def _copied(tensor: Tensor) -> Tensor:
    """`tensor` on the host, once the stream has come so far."""
    on_host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return on_host.copy_(tensor, non_blocking=True)
