"""How much of something a device does in a second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from neokernels.roofline import Load, seconds_of

from bench.node.measured.figure import Figure, rate
from bench.node.measured.trials import repeated

_TRIAL_S = 0.01
"""Least length of a trial: what the host takes to begin and to wait is then a thousandth of it."""


def load_rate(device: torch.device, load: Load, seconds: float, method: str) -> Figure:
    """Bytes or operations a second of `load`, run so often in a trial that the trial can be timed."""
    end = time.monotonic() + seconds
    load.run()
    # Of two, so that one interruption does not make every trial too short.
    runs = max(1, math.ceil(_TRIAL_S / min(seconds_of(device, load.run) for _ in range(2))))
    taken = repeated(lambda: seconds_of(device, lambda: times(runs, load.run)), end - time.monotonic())
    return rate(runs * load.amount, taken, method)


def times(count: int, work: Callable[[], object]) -> None:
    for _ in range(count):
        work()


def mebibytes(nbytes: int) -> str:
    return f"{nbytes >> 20:,} MiB"
