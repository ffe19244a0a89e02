"""XID events: what NVIDIA's driver reports when a GPU or a program on it goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pynvml

from bench.node.facts import AbsentError
from bench.node.nvml import Device, RefusedError

_MOST_AT_ONCE = 1000


class XidWatch:
    """Counts the XID events of one GPU from when it was made. Each GPU has an event set of its own, so that no event
    has to be told apart by its device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._set: Any = None
        self._absent: AbsentError | None = None
        self._events = self._last = 0
        try:
            self._set = device.nvml.ask("nvmlEventSetCreate")
            device.ask("nvmlDeviceRegisterEvents", pynvml.nvmlEventTypeXidCriticalError, self._set)
        except AbsentError as absent:
            self._absent = absent

    def read(self) -> Sequence[float]:
        """How many events there were, and the number of the last, 0 before the first. Waits for none.

        Raises AbsentError where events cannot be had.
        """
        if self._absent is not None:
            raise self._absent
        before = self._events
        for _ in range(_MOST_AT_ONCE):
            try:
                event = self._device.nvml.ask("nvmlEventSetWait_v2", self._set, 0)
            except RefusedError as refused:
                if refused.code == pynvml.NVML_ERROR_TIMEOUT or self._events > before:
                    break  # a GPU may tell of its end and then nothing
                raise
            self._events += 1
            self._last = int(event.eventData)
        return self._events, self._last

    def close(self) -> None:
        if self._set is not None:
            self._device.nvml.ask("nvmlEventSetFree", self._set)
            self._set = None
