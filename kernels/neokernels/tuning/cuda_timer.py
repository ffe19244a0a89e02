"""Kernels timed on a GPU, replayed from a CUDA graph so that no host is in the figure.

A graph launches the kernel once for each of several copies of its inputs, so many that the second-level cache has lost
a copy before its turn comes again: a warm cache hides the very reads that a step pays for, and prefers schedules that
prefetch too little. Graphs of one problem share the memory of their outputs, since nobody reads those. A sample is the
time between two events around one replay; what comes before them keeps the device busy until both are queued.
"""

from __future__ import annotations

import gc
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor
from triton import TritonError

from neokernels.device import cuda_device
from neokernels.tuning.agreement import disagreement, poisoned
from neokernels.tuning.draw import Draw
from neokernels.tuning.measurement import Clocks
from neokernels.tuning.schedules import Fixed
from neokernels.tuning.space import Config, Inputs, Outputs, Problem, TunableKernel
from neokernels.tuning.timer import Conditions, DeviceLostError, LaunchError

_TIMES_L2 = 5
"""How many times the second-level cache is read over before a copy's turn comes again."""
_MOST_COPIES = 512
"""Of inputs so small that they would need more: these stay in the cache, and the measurement says so."""
_MEMORY_SHARE = 0.25
"""Of the free memory that copies may take; each has outputs of its own, and the reference needs some, too."""
_WARM_S = 0.02
"""Of replays before the first sample of a schedule, for the clocks to rise."""


class CudaTimer:
    """A `neokernels.tuning.timer.Timer` for one CUDA device."""

    def __init__(self, device: torch.device, clocks: Callable[[], Clocks]) -> None:
        self.device = cuda_device(device.index or 0)
        self.clocks = clocks
        self._place = device

    @contextmanager
    def on(self, kernel: TunableKernel[Any], problem: Problem) -> Iterator[CudaTiming]:
        try:
            timing = CudaTiming(self, self._place, kernel, problem)
        except torch.OutOfMemoryError as error:
            raise LaunchError("its inputs do not fit the device") from error
        try:
            yield timing
        finally:
            with suppress(RuntimeError):  # a device that was lost refuses even this
                timing.close()


class CudaTiming:
    """One problem's inputs on the device, and a graph of each schedule that was prepared."""

    def __init__(self, timer: CudaTimer, device: torch.device, kernel: TunableKernel[Any], problem: Problem) -> None:
        self._timer = timer
        self._device = device
        self._kernel = kernel
        self._problem = problem
        first = self._drawn(0)
        copies = _copies(kernel.work(problem).nbytes, nbytes(first), timer.device.l2_bytes, device)
        self._inputs = [first, *(self._drawn(seed) for seed in range(1, copies))]
        self._graphs: dict[Config, torch.cuda.CUDAGraph] = {}
        self._memory = torch.cuda.graph_pool_handle()
        # Four times the cache: one reading outlasts the queueing of a replay, and leaves nothing to be written back.
        self._scratch = torch.zeros(timer.device.l2_bytes, dtype=torch.int32, device=device)
        self._events = torch.Event(device, enable_timing=True), torch.Event(device, enable_timing=True)
        self._fresh: tuple[int, Outputs] | None = None
        cold = copies * kernel.work(problem).nbytes >= _TIMES_L2 * timer.device.l2_bytes
        self.conditions = Conditions("cuda graph", cold_l2=cold, copies=copies)

    def close(self) -> None:
        self._graphs.clear()
        self._inputs.clear()
        del self._scratch, self._fresh
        torch.cuda.empty_cache()

    def prepare(self, config: Config) -> None:
        try:
            self._graphs[config] = self._captured(config)
            self._warm(config)
        except (TritonError, RuntimeError) as error:
            raise self._told(config, error) from error

    def sample_us(self, config: Config) -> float:
        began, ended = self._events
        try:
            self._scratch.sum()
            began.record()
            self._graphs[config].replay()
            ended.record()
            torch.cuda.synchronize(self._device)
        except RuntimeError as error:
            raise DeviceLostError(config, _line(error)) from error
        milliseconds: float = began.elapsed_time(ended)
        return milliseconds * 1000 / len(self._inputs)

    def fault(self, config: Config) -> str | None:
        try:
            seed, references = self._references()
            with poisoned():
                outputs = self._kernel.run(self._drawn(seed), Fixed(self._timer.device, config))
            torch.cuda.synchronize(self._device)
            return disagreement(self._kernel.compared(self._drawn(seed), outputs), references)
        except RuntimeError as error:
            told = self._told(config, error)
            if isinstance(told, DeviceLostError):
                raise told from error
            return f"it cannot be checked: {told}"

    def _references(self) -> tuple[int, Outputs]:
        """A seed that no schedule has seen before it was timed, and what is computed from it."""
        if self._fresh is None:
            seed = secrets.randbits(31)
            outputs = self._kernel.reference(self._drawn(seed))
            self._fresh = seed, self._kernel.compared(self._drawn(seed), outputs)
        return self._fresh

    def _drawn(self, seed: int) -> Inputs:
        return self._kernel.inputs(self._problem, Draw(self._device, seed))

    def _captured(self, config: Config) -> torch.cuda.CUDAGraph:
        schedules = Fixed(self._timer.device, config)
        self._kernel.run(self._inputs[0], schedules)  # compiles
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        # A kernel that is collected meanwhile unloads its module, which no capture survives.
        gc.disable()
        try:
            with torch.cuda.graph(graph, pool=self._memory):
                # Held until the end: outputs at one address would stay in the cache, where writing costs nothing.
                outputs = [self._kernel.run(inputs, schedules) for inputs in self._inputs]
                del outputs
        finally:
            gc.enable()
        return graph

    def _warm(self, config: Config) -> None:
        until = time.monotonic() + _WARM_S
        while time.monotonic() < until:
            self._graphs[config].replay()
            torch.cuda.synchronize(self._device)

    def _told(self, config: Config, error: Exception) -> LaunchError | DeviceLostError:
        self._graphs.pop(config, None)
        try:
            torch.cuda.synchronize(self._device)
            self._scratch.sum().item()
        except RuntimeError:
            return DeviceLostError(config, _line(error))
        return LaunchError(_line(error))


def _copies(read_bytes: int, input_bytes: int, l2_bytes: int, device: torch.device) -> int:
    """As many as make the cache forget, where memory has room for them; one at least."""
    wanted = -(-_TIMES_L2 * l2_bytes // max(1, read_bytes)) + 1
    free, _ = torch.cuda.mem_get_info(device)
    room = int(free * _MEMORY_SHARE) // max(1, input_bytes)
    return max(1, min(wanted, _MOST_COPIES, room))


def nbytes(inputs: Inputs) -> int:
    """Of the tensors among `inputs` and in what they are made of."""
    total = 0
    for part in inputs:
        if isinstance(part, Tensor):
            total += part.nbytes
        elif isinstance(part, tuple | list):
            total += nbytes(tuple(part))
        elif hasattr(part, "__dataclass_fields__"):
            total += nbytes(tuple(getattr(part, name) for name in part.__dataclass_fields__))
    return total


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
