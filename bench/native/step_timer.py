"""The times of one engine step: the whole, the host's part of it, and how long a GPU was busy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.core.records import StepRow
from bench.core.units import NS_PER_MS


class StepTimer:
    """Made when a step begins, read when it has ended."""

    def __init__(self, device: torch.device) -> None:
        self._began_ns = time.monotonic_ns()
        self._model_ns = 0
        self._events: tuple[torch.Event, torch.Event] | None = None
        if device.type == "cuda":
            self._events = (torch.Event(device, enable_timing=True), torch.Event(device, enable_timing=True))

    @contextmanager
    def model(self) -> Iterator[None]:
        """Around the model and the sampler; left only when the device has done its work."""
        began_ns = time.monotonic_ns()
        if self._events is not None:
            self._events[0].record()
        try:
            yield
        finally:
            if self._events is not None:
                self._events[1].record()
                self._events[1].synchronize()
            self._model_ns = time.monotonic_ns() - began_ns

    def row(self, graph_key: str = "eager", **counts: int) -> StepRow:
        """The step as it is logged, ending now. The host's part is all that lies outside the model and the sampler.

        `counts` are the counts of a StepRow by name.
        """
        duration_ns = time.monotonic_ns() - self._began_ns
        return StepRow(
            t_ns=self._began_ns,
            duration_ns=duration_ns,
            graph_key=graph_key,
            device_ns=self._device_ns(),
            host_ns=duration_ns - self._model_ns,
            **counts,
        )

    def _device_ns(self) -> int | None:
        """From the first of the device's work to the last; None on a CPU, where device and host are one."""
        if self._events is None:
            return None
        first, last = self._events
        return round(first.elapsed_time(last) * NS_PER_MS)
