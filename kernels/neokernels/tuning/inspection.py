"""What candidates compile to, asked before any is launched: one that spills or does not fit costs no time on a GPU."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from neokernels.aot import CompileError, compile_kernel
from neokernels.device import Device
from neokernels.tuning.measurement import Resources, Status
from neokernels.tuning.space import Config, Problem, TunableKernel, Value


@dataclass(frozen=True, slots=True)
class Inspection:
    """`refusal` and its `detail` are None where nothing speaks against a launch."""

    refusal: Status | None
    detail: str | None
    resources: Resources | None


class Inspector(Protocol):
    def inspect(self, kernel: TunableKernel[Any], problem: Problem, configs: Sequence[Config]) -> Iterator[Inspection]:
        """An inspection for each of `configs`, in their order."""


class AheadOfTime:
    """Compiles in processes of their own: in parallel, and a compiler that crashes takes no search with it."""

    def __init__(self, device: Device, processes: int) -> None:
        self._device = device
        self._processes = processes
        self._pool = self._new_pool()

    def inspect(self, kernel: TunableKernel[Any], problem: Problem, configs: Sequence[Config]) -> Iterator[Inspection]:
        waiting = list(configs)
        while waiting:
            futures = [self._pool.submit(_inspect, kernel, problem, dict(c), self._device) for c in waiting]
            for future in futures:
                try:
                    inspection = future.result()
                except BrokenProcessPool:
                    self._pool = self._new_pool()
                    # Which of them broke it is not told: this one is tried alone, and the others again.
                    yield self._alone(kernel, problem, waiting.pop(0))
                    break
                waiting.pop(0)
                yield inspection

    def _alone(self, kernel: TunableKernel[Any], problem: Problem, config: Config) -> Inspection:
        with self._new_pool(1) as pool:
            try:
                return pool.submit(_inspect, kernel, problem, dict(config), self._device).result()
            except BrokenProcessPool:
                return Inspection("does_not_compile", "the compiler crashed", None)

    def _new_pool(self, processes: int | None = None) -> ProcessPoolExecutor:
        # Spawned: a forked child could not use the CUDA context of its parent.
        return ProcessPoolExecutor(
            processes or self._processes, multiprocessing.get_context("spawn"), _leave_interrupts_to_the_parent
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _inspect(kernel: TunableKernel[Any], problem: Problem, config: Mapping[str, Value], device: Device) -> Inspection:
    # A configuration's hash is that of its own process, so it comes as its values.
    try:
        compiled = compile_kernel(kernel, problem, Config(**config), device)
    except CompileError as error:
        return Inspection("does_not_compile", str(error), None)
    resources = Resources(
        registers=max((launch.registers for launch in compiled), default=0),
        stack_bytes=max((launch.stack_bytes for launch in compiled), default=0),
        shared_bytes=max((launch.shared_bytes for launch in compiled), default=0),
    )
    for launch in compiled:
        if misfit := launch.misfit(device):
            return Inspection("does_not_fit", f"{launch.name}: {misfit}", resources)
        if launch.stack_bytes:
            return Inspection("spills", f"{launch.name}: {launch.stack_bytes} bytes of stack", resources)
    return Inspection(None, None, resources)
