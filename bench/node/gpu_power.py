"""Energy and power of NVIDIA GPUs by NVML's scopes: the GPU with its memory, and its memory alone.

The energy counter runs from the driver's start (Volta and newer). Power comes from the most direct source the driver
answers: the instant field, its average over a second, or the older call, which averages from Ampere on, GA100 excepted
(nvml.h, field values 83, 185, 186 and 191). Memory is part of the GPU: a scope of its own, never added to another.
nvml.h gives field 191 no scopes but calls it that of the GPU, so a counter of another scope must differ from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pynvml

from bench.node.facts import AbsentError
from bench.node.module_power import GPU_COUNTER, MODULE_POWER
from bench.node.nvml import Device
from bench.node.nvml_sensor import Meter, Source, field_source, first_that_answers, open_meter

_GPU = ("GPU", pynvml.NVML_POWER_SCOPE_GPU)
_MEMORY = ("memory", pynvml.NVML_POWER_SCOPE_MEMORY)
_SCOPED_POWER = (
    field_source("instant power", pynvml.NVML_FI_DEV_POWER_INSTANT, _GPU),
    field_source("average power", pynvml.NVML_FI_DEV_POWER_AVERAGE, _GPU),
)
_COUNTERS = (
    field_source("energy counter", pynvml.NVML_FI_DEV_ENERGY, _GPU),
    Source("energy counter (NVML field 83)", field=(pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, 0)),
    Source("energy counter", function="nvmlDeviceGetTotalEnergyConsumption"),
)
_POWER = (*_SCOPED_POWER, Source("power usage", function="nvmlDeviceGetPowerUsage"))
_MEMORY_COUNTER = (field_source("energy counter", pynvml.NVML_FI_DEV_ENERGY, _MEMORY, unlike=GPU_COUNTER),)
_MEMORY_POWER = (
    field_source("instant power", pynvml.NVML_FI_DEV_POWER_INSTANT, _MEMORY),
    field_source("average power", pynvml.NVML_FI_DEV_POWER_AVERAGE, _MEMORY),
)


def gpu_meters(devices: Sequence[Device]) -> list[Meter]:
    """A meter a GPU. Raises AbsentError unless every GPU can be read: part of a scope is not the scope."""
    return [_gpu_meter(device) for device in devices]


def memory_meters(devices: Sequence[Device]) -> list[Meter]:
    """A meter for the memory of each GPU (Hopper and newer). Raises AbsentError unless every one can be read."""
    return [
        open_meter("memory", f"{device.name}-memory", device, energy=_MEMORY_COUNTER, power=_MEMORY_POWER)
        for device in devices
    ]


def several_processes(devices: Sequence[Device]) -> str | None:
    """Which of `devices` compute for several processes now: their energy is that of all. None where none is known to.

    Processes that begin later are seen by whoever watches the node's health.
    """
    told = []
    for device in devices:
        try:
            processes = len(device.ask("nvmlDeviceGetComputeRunningProcesses"))
        except AbsentError:
            continue
        if processes > 1:
            told.append(f"{processes} processes compute on {device.name}: its energy is that of all of them")
    return "; ".join(told) or None


def _gpu_meter(device: Device) -> Meter:
    scoped = first_that_answers(device, _SCOPED_POWER)
    if isinstance(scoped, AbsentError) and isinstance(first_that_answers(device, MODULE_POWER), Source):
        # As a GH200 may be. Calls that know no scope, and maybe the counter, would answer for the GPU or for its
        # whole module, and there is no power to hold them against.
        raise AbsentError(f"{device.name} tells the power of its module alone: {scoped}")
    return open_meter("gpu", device.name, device, energy=_COUNTERS, power=_POWER)
