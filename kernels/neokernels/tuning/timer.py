"""What a search asks of whatever times kernels: a GPU, or something that behaves like one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from neokernels.device import Device
from neokernels.tuning.measurement import Clocks
from neokernels.tuning.space import Config, Problem, TunableKernel


class LaunchError(Exception):
    """A schedule that cannot be launched; one line that says why."""


class DeviceLostError(Exception):
    """A schedule that broke the device for this process: nothing can be timed on it any more."""

    def __init__(self, config: Config, detail: str) -> None:
        super().__init__(detail)
        self.config = config


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which every schedule of one problem is timed."""

    timer: str
    cold_l2: bool
    copies: int


class Timing(Protocol):
    """One problem's inputs on the device, and its schedules made ready."""

    conditions: Conditions

    def prepare(self, config: Config) -> None:
        """Make a schedule ready, and warm. Raises LaunchError, or DeviceLostError."""

    def sample_us(self, config: Config) -> float:
        """Microseconds of one launch of a schedule that was prepared, the device idle before and after.

        Raises DeviceLostError.
        """

    def fault(self, config: Config) -> str | None:
        """What is wrong with what a schedule computes of fresh inputs into poisoned outputs; None when nothing is.

        Raises DeviceLostError.
        """


class Timer(Protocol):
    device: Device

    def on(self, kernel: TunableKernel[Any], problem: Problem) -> AbstractContextManager[Timing]:
        """Within, the schedules of one problem can be timed; after, the device's memory is free again.

        Raises LaunchError where the problem does not fit the device.
        """

    def clocks(self) -> Clocks:
        """The device's now."""
