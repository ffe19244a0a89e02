"""Which schedule a kernel runs a problem with: the tuned one, that of the nearest tuned problem, or a rule of thumb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from neokernels.device import Device, cuda_device
from neokernels.tuning.space import Config, P, Problem, TunableKernel

Origin = Literal["tuned", "nearest", "heuristic", "fixed"]


@dataclass(frozen=True, slots=True)
class LookUp:
    """A schedule that was looked up, for the record."""

    kernel: str
    problem: Problem
    config: Config
    origin: Origin

    def as_dict(self) -> dict[str, Any]:
        """In plain values."""
        return {
            "kernel": self.kernel,
            "problem": self.problem.as_dict(),
            "config": dict(self.config),
            "origin": self.origin,
        }


class Table(Protocol):
    """Winners of one device, as a tuner exported them."""

    def find(self, kernel: TunableKernel[P], problem: P) -> tuple[Config, Origin] | None:
        """The schedule of the problem itself or of the nearest one; None where none is near."""


class Schedules:
    """The schedules of one engine's kernels on one device. A look-up is made once a problem and remembered."""

    def __init__(self, device: Device, table: Table | None = None, *, batch_invariant: bool = False) -> None:
        self.device = device
        self.batch_invariant = batch_invariant
        """Whether a row's bits may depend on what shares the batch: then no schedule, and no split, may either."""
        self._table = table
        self._configs: dict[tuple[str, Problem], Config] = {}
        self._look_ups: dict[tuple[str, Problem], LookUp] = {}

    def config(self, kernel: TunableKernel[P], problem: P) -> Config:
        """The schedule to launch `problem` with."""
        key = (kernel.name, problem)
        config = self._configs.get(key)
        if config is None:
            config = self._configs[key] = self._look_up(kernel, problem)
        return config

    @property
    def look_ups(self) -> tuple[LookUp, ...]:
        """One for each kernel and bucket of problems, in the order they were first asked for."""
        return tuple(self._look_ups.values())

    def _look_up(self, kernel: TunableKernel[P], problem: P) -> Config:
        bucket = problem.invariant() if self.batch_invariant else problem.bucket()
        known = self._look_ups.get((kernel.name, bucket))
        if known is None:
            found = self._table.find(kernel, bucket) if self._table else None
            config, origin = found or (kernel.heuristic(bucket, self.device), "heuristic")
            known = self._look_ups[kernel.name, bucket] = LookUp(kernel.name, bucket, config, origin)
        return known.config


class Fixed(Schedules):
    """One schedule whatever the problem: for who tries it."""

    def __init__(self, device: Device, config: Config, *, batch_invariant: bool = False) -> None:
        super().__init__(device, batch_invariant=batch_invariant)
        self._config = config

    def _look_up(self, kernel: TunableKernel[P], problem: P) -> Config:  # noqa: ARG002
        return self._config


def untuned(device: torch.device) -> Schedules:
    """Rules of thumb for a CUDA device."""
    return Schedules(cuda_device(device.index or 0))
