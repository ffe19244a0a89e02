"""Nodes that nobody has seen: recordings of NVML written from its documentation, with the joules they truly used.

Sources: nvml.h for fields, scopes and return codes; what nvidia-smi lists of a real H100 and a real GB300 tray
(published in NVIDIA/k8s-test-infra) for which scopes answer, and for boards that two GPUs have in common. Whether a
module counts its energy is documented nowhere: the GB300 here does, and the GH200 does not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pynvml

from bench.core.units import ns_from_seconds
from bench.node.nvml_recording import POWER_INTERVAL_S, header

SCOPES = {
    "gpu": pynvml.NVML_POWER_SCOPE_GPU,
    "memory": pynvml.NVML_POWER_SCOPE_MEMORY,
    "module": pynvml.NVML_POWER_SCOPE_MODULE,
}
_ENERGY = pynvml.NVML_FI_DEV_ENERGY
_POWER = (pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_FI_DEV_POWER_AVERAGE)
_FIELDS = [(field, scope) for field in (_ENERGY, *_POWER) for scope in SCOPES.values()]
_SWING, _PERIOD_S = 0.2, 7.0
_BEFORE_S = 1000.0
"""For how long energy was counted when the recording begins."""
_GRACE_CPUS = 72


@dataclass(frozen=True)
class Fault:
    """What becomes of one GPU from a time on."""

    kind: Literal["lost", "reset", "frozen", "refused"]
    gpu: int
    from_s: float


@dataclass(frozen=True)
class SyntheticNode:
    """GPUs whose power swings around a mean, each in its own phase."""

    product: str
    gpus: int
    gpus_a_board: int
    watts: Mapping[str, float]
    """Mean, by the scopes that answer."""
    counted: frozenset[str]
    """Scopes with an energy counter."""
    averaged: frozenset[str] = frozenset()
    """Scopes whose power is told as an average alone."""
    refuses_serials: bool = False
    gpus_a_processor: int | None = None
    """As many as on a board where it is None."""

    def meter_of(self, gpu: int, scope: str) -> int:
        """The number of the meter that answers for `gpu` in `scope`."""
        return gpu // self.gpus_a_board if scope == "module" else gpu

    def joules(self, scope: str, start_s: float, end_s: float) -> float:
        """What all meters of `scope` used between two times, exactly."""
        meters = {self.meter_of(gpu, scope) for gpu in range(self.gpus)}
        return math.fsum(self._counter(scope, one, end_s) - self._counter(scope, one, start_s) for one in meters)

    def recording(self, seconds: float = 20.0, fault: Fault | None = None) -> list[str]:
        """Its lines. A run may look at them for `seconds`."""
        head = header("synthetic", f"{self.gpus} {self.product}, written from nvml.h")
        return [json.dumps(line) for line in (head, *self._once(), *self._rounds(seconds, fault))]

    def _once(self) -> Iterator[dict[str, Any]]:
        yield _call("nvmlInit", result=None)
        yield _call("nvmlShutdown", result=None)
        yield _call("nvmlDeviceGetCount", result=self.gpus)
        for gpu in range(self.gpus):
            handle = {"handle": f"handle{gpu}"}
            yield _call("nvmlDeviceGetHandleByIndex", gpu, result=handle)
            yield _call("nvmlDeviceGetName", handle, result=self.product)
            yield _call("nvmlDeviceGetUUID", handle, result=f"GPU-{gpu:016x}")
            yield _call("nvmlDeviceGetComputeRunningProcesses", handle, result=[])
            # That of the GPU on its baseboard, which does not tell what shares a meter.
            yield _call("nvmlDeviceGetModuleId", handle, result=gpu + 1)
            # They know no scope, so nothing says of what they tell.
            yield _call("nvmlDeviceGetTotalEnergyConsumption", handle, result=1_000_000_000)
            yield _call("nvmlDeviceGetPowerUsage", handle, result=500_000)
            board = gpu // self.gpus_a_board
            serial = (
                {"error": pynvml.NVML_ERROR_NOT_SUPPORTED} if self.refuses_serials else {"result": f"board-{board}"}
            )
            yield _call("nvmlDeviceGetSerial", handle, **serial)
            yield _call("nvmlDeviceGetCpuAffinity", handle, 64, result=self._nearest_cpus(gpu))

    def _nearest_cpus(self, gpu: int) -> list[int]:
        """64 words of 64 bits, a bit for each processor."""
        bits = ((1 << _GRACE_CPUS) - 1) << _GRACE_CPUS * (gpu // (self.gpus_a_processor or self.gpus_a_board))
        return [bits >> 64 * word & (1 << 64) - 1 for word in range(64)]

    def _rounds(self, seconds: float, fault: Fault | None) -> Iterator[dict[str, Any]]:
        for number in range(round(seconds / POWER_INTERVAL_S) + 1):
            t_s = number * POWER_INTERVAL_S
            for gpu in range(self.gpus):
                struck = fault is not None and fault.gpu == gpu and t_s >= fault.from_s
                outcome = self._fields(gpu, t_s, fault if struck else None)
                yield _call("nvmlDeviceGetFieldValues", {"handle": f"handle{gpu}"}, _FIELDS, t_s=t_s, **outcome)

    def _fields(self, gpu: int, t_s: float, fault: Fault | None) -> dict[str, Any]:
        if fault is not None and fault.kind == "lost":
            return {"error": pynvml.NVML_ERROR_GPU_IS_LOST}
        answers = []
        for scope, number in SCOPES.items():
            told = {_ENERGY: self._energy(scope, gpu, t_s, fault), **self._power(scope, gpu, t_s, fault)}
            answers += [_field(field, number, told[field]) for field in (_ENERGY, *_POWER)]
        answers.sort(key=lambda answer: _FIELDS.index((answer["field"], answer["scope"])))
        return {"result": answers}

    def _energy(self, scope: str, gpu: int, t_s: float, fault: Fault | None) -> float | None:
        if scope not in self.counted or (fault is not None and fault.kind == "refused"):
            return None
        joules = self._counter(scope, self.meter_of(gpu, scope), _shown_s(fault, t_s))
        counted_from = self.watts[scope] * _BEFORE_S if fault is not None and fault.kind == "reset" else 0.0
        return joules - counted_from

    def _power(self, scope: str, gpu: int, t_s: float, fault: Fault | None) -> dict[int, float | None]:
        if scope not in self.watts:
            return dict.fromkeys(_POWER)
        watts = self._watts(scope, self.meter_of(gpu, scope), _shown_s(fault, t_s))
        instant = None if scope in self.averaged else watts
        return dict(zip(_POWER, (instant, watts), strict=True))

    def _watts(self, scope: str, meter: int, t_s: float) -> float:
        return self.watts[scope] * (1 + _SWING * math.sin(2 * math.pi * t_s / _PERIOD_S + meter))

    def _counter(self, scope: str, meter: int, t_s: float) -> float:
        """The integral of `_watts`."""
        swung_s = -_SWING * _PERIOD_S / (2 * math.pi) * math.cos(2 * math.pi * t_s / _PERIOD_S + meter)
        return self.watts[scope] * (_BEFORE_S + t_s + swung_s)


def _shown_s(fault: Fault | None, t_s: float) -> float:
    """The time whose figures are told at `t_s`."""
    return fault.from_s if fault is not None and fault.kind == "frozen" else t_s


def _call(function: str, *arguments: Any, t_s: float = 0.0, **outcome: Any) -> dict[str, Any]:
    return {"function": function, "arguments": arguments, **outcome, "t_ns": ns_from_seconds(t_s), "took_ns": 0}


def _field(field: int, scope: int, told: float | None) -> dict[str, Any]:
    if told is None:
        return {"field": field, "scope": scope, "code": pynvml.NVML_ERROR_NOT_SUPPORTED, "type": None, "value": None}
    kind = pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG if field == _ENERGY else pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
    return {"field": field, "scope": scope, "code": pynvml.NVML_SUCCESS, "type": kind, "value": round(told * 1000)}


H100 = SyntheticNode(
    "NVIDIA H100 80GB HBM3", 8, 1, {"gpu": 650.0, "memory": 110.0}, frozenset({"gpu"}), averaged=frozenset({"memory"})
)
GH200 = SyntheticNode("NVIDIA GH200 480GB", 1, 1, {"module": 820.0}, frozenset(), refuses_serials=True)
GB300 = SyntheticNode(
    "NVIDIA GB300",
    4,
    2,
    {"gpu": 1150.0, "memory": 180.0, "module": 2700.0},
    frozenset({"gpu", "module"}),
    averaged=frozenset({"memory"}),
)
