"""What went wrong with a sensor while a case ran, typed: the run goes on, and the record says what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pynvml

from bench.node.facts import AbsentError
from bench.node.http_reader import MeterErrorCode
from bench.node.nvml import RefusedError

FaultCode = (
    Literal["device_lost", "driver_gone", "no_permission", "refused", "not_read", "counter_went_back", "frozen"]
    | MeterErrorCode
)

_NVML_CODES: Mapping[int, FaultCode] = {
    pynvml.NVML_ERROR_GPU_IS_LOST: "device_lost",
    pynvml.NVML_ERROR_RESET_REQUIRED: "device_lost",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "driver_gone",
    pynvml.NVML_ERROR_UNINITIALIZED: "driver_gone",
    pynvml.NVML_ERROR_NO_PERMISSION: "no_permission",
}


@dataclass(slots=True)
class SensorFault:
    code: FaultCode
    message: str
    """As it was first told."""
    first_t_ns: int
    readings: int
    """How many readings it was seen in."""


class SensorFaults:
    """The faults of one sensor, each kind once."""

    def __init__(self) -> None:
        self._by_code: dict[FaultCode, SensorFault] = {}
        self.last: str | None = None
        """The code and the message of what was told last; None where nothing went wrong."""

    def add(self, code: FaultCode, message: str, t_ns: int) -> None:
        """Note what is wrong with the reading at `t_ns`."""
        self.last = f"{code}: {message}"
        fault = self._by_code.setdefault(code, SensorFault(code, message, t_ns, 0))
        fault.readings += 1

    def add_absent(self, absent: AbsentError, t_ns: int) -> None:
        """Note what a sensor said in place of the reading at `t_ns`."""
        code = _NVML_CODES.get(absent.code, "refused") if isinstance(absent, RefusedError) else "not_read"
        self.add(code, str(absent), t_ns)

    def as_list(self) -> list[dict[str, Any]]:
        """The faults in the order they first came, ready for JSON."""
        return [asdict(fault) for fault in self._by_code.values()]
