"""A device that is not there: how long a schedule takes on it is arithmetic, with noise, drift and faults as asked for.

Run as a program it tunes into a file until it has taken so many samples, and kills itself:

    python simulated.py MEASUREMENTS.jsonl SAMPLES
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import torch
from neokernels.device import Device
from neokernels.roofline import KernelCeilings
from neokernels.tuning.draw import Draw
from neokernels.tuning.inspection import Inspection
from neokernels.tuning.measurement import UNTOLD, Clocks, MeasuredDevice, Resources, Stack
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.search import Effort, Search
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work
from neokernels.tuning.store import MeasurementLog
from neokernels.tuning.timer import Conditions, DeviceLostError, LaunchError

DEVICE = Device("Simulated GPU 80GB", 90, multiprocessors=100, l2_bytes=50 << 20)
MEASURED_DEVICE = MeasuredDevice(DEVICE.name, 90, 100, DEVICE.l2_bytes, 80 << 30, 700.0)
STACK = Stack("3.7.1", "2.13.0", "12.8", "13.0", "580.1", fp_fusion=True)
CEILINGS = KernelCeilings(3e12, 2.5e12, {"bfloat16": 700e12})


@dataclass(frozen=True)
class Rows(Problem):
    batch_fields: ClassVar[Mapping[str, int]] = {"rows": 64}

    rows: int
    width: int


class Source:
    """In the place of a function under `triton.jit`."""

    def __init__(self, src: str) -> None:
        self.src = src


class Twice(TunableKernel[Rows]):
    """2·x, which needs no kernel to be computed."""

    name = "twice"
    problem_type = Rows
    sources = (Source("def kernel(x): return 2 * x"),)
    knobs = (Knob("BLOCK", (16, 32, 64, 128, 256)), Knob("num_warps", (1, 2, 4, 8)))
    examples = (Rows(64, 4096), Rows(1024, 4096))

    def problems(self, model: ModelShape) -> Iterator[Rows]:
        for rows in model.rows:
            yield Rows(rows, model.hidden)

    def heuristic(self, problem: Rows, device: Device) -> Config:
        return Config(BLOCK=64, num_warps=4)

    def makes_sense(self, problem: Rows, config: Config, device: Device) -> bool:
        return config.number("BLOCK") <= problem.width

    def inputs(self, problem: Rows, draw: Draw) -> Inputs:
        return (draw.normal(problem.rows, problem.width, dtype=torch.float32),)

    def run(self, inputs: Inputs, schedules: Any) -> Outputs:
        return (2 * inputs[0],)

    def reference(self, inputs: Inputs) -> Outputs:
        return (2 * inputs[0],)

    def exact(self, inputs: Inputs) -> Outputs:
        return (2 * inputs[0].double(),)

    def work(self, problem: Rows) -> Work:
        return Work(nbytes=8 * problem.rows * problem.width)


class Crashes(Twice):
    """The compiler does not survive one of its schedules."""

    name = "crashes"

    def run(self, inputs: Inputs, schedules: Any) -> Outputs:
        if schedules.config(self, Rows(1, 1))["BLOCK"] == 32:
            os.abort()
        return super().run(inputs, schedules)


TWICE = Twice()


def true_us(problem: Rows, config: Config) -> float:
    """Fastest where a block is half of 256 and has two warps; the rule of thumb is 30 % slower."""
    off = abs(config.number("BLOCK").bit_length() - 8) + abs(config.number("num_warps").bit_length() - 2)
    return problem.rows * problem.width * 1e-4 * (1 + 0.15 * off)


FASTEST = Config(BLOCK=128, num_warps=2)
TimeOf = Callable[[Rows, Config, int], float]


@dataclass
class SimulatedTimer:
    """Time goes on with each sample, and with it whatever `time_us` makes of it."""

    time_us: TimeOf = lambda problem, config, samples: true_us(problem, config)
    device: Device = DEVICE
    wrong: frozenset[Config] = frozenset()
    fails: frozenset[Config] = frozenset()
    breaks: frozenset[Config] = frozenset()
    killed_after: int | None = None
    sampled: list[tuple[Problem, Config]] = field(default_factory=list)

    @contextmanager
    def on(self, kernel: TunableKernel[Any], problem: Any) -> Iterator[SimulatedTiming]:
        yield SimulatedTiming(self, problem)

    def clocks(self) -> Clocks:
        return UNTOLD


class SimulatedTiming:
    conditions = Conditions("simulated", cold_l2=True, copies=3)

    def __init__(self, timer: SimulatedTimer, problem: Rows) -> None:
        self._timer = timer
        self._problem = problem

    def prepare(self, config: Config) -> None:
        if config in self._timer.fails:
            raise LaunchError("out of resource")
        if config in self._timer.breaks:
            raise DeviceLostError(config, "an illegal memory access was encountered")

    def sample_us(self, config: Config) -> float:
        sampled = self._timer.sampled
        if len(sampled) == self._timer.killed_after:
            os.kill(os.getpid(), signal.SIGKILL)
        sampled.append((self._problem, config))
        return self._timer.time_us(self._problem, config, len(sampled))

    def fault(self, config: Config) -> str | None:
        return "output 0: 3 numbers are not finite" if config in self._timer.wrong else None


@dataclass
class SimulatedCompiler:
    refuses: Mapping[Config, Inspection] = field(default_factory=dict)

    def inspect(self, kernel: TunableKernel[Any], problem: Problem, configs: Sequence[Config]) -> Iterator[Inspection]:
        for config in configs:
            yield self.refuses.get(config, Inspection(None, None, Resources(64, 0, 4096)))


def noisy(share: float, seed: int = 0) -> TimeOf:
    draw = random.Random(seed)
    return lambda problem, config, samples: true_us(problem, config) * (1 + abs(draw.gauss(0, share)))


def drifting(problem: Rows, config: Config, samples: int) -> float:
    """The device gets half a percent slower with each sample."""
    return true_us(problem, config) * (1 + 0.005 * samples)


def search(
    log: MeasurementLog,
    timer: SimulatedTimer | None = None,
    compiler: SimulatedCompiler | None = None,
    stack: Stack = STACK,
    **effort: int,
) -> Search:
    number = count(len(log.rows))
    return Search(
        timer or SimulatedTimer(),
        compiler or SimulatedCompiler(),
        log,
        device=MEASURED_DEVICE,
        stack=stack,
        ceilings=CEILINGS,
        now=lambda: f"2026-11-22T10:00:00.{next(number):06d}+00:00",
        effort=Effort(**effort),
    )


if __name__ == "__main__":
    with MeasurementLog(Path(sys.argv[1])) as doomed:
        tuner = search(doomed, SimulatedTimer(time_us=noisy(0.01), killed_after=int(sys.argv[2])))
        for wanted in Twice.examples:
            tuner.tune(TWICE, wanted)
