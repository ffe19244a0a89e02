"""What a GPU's clocks are at one moment, and what holds them back."""

from __future__ import annotations

from typing import Any

import pynvml

from bench.node.facts import AbsentError, Facts
from bench.node.gpu_health import THROTTLE_REASONS, temperature_c
from bench.node.nvml import Device, Nvml
from bench.node.used_gpus import gpus_by_id

_FIGURES = ("sm_mhz", "memory_mhz", "temperature_c", "power_w", "throttled")


def gpu_clocks(id: str, api: Any = pynvml) -> dict[str, Any]:
    """Of the GPU whose pseudonym is `id`; None for what is not told. `throttled` names what holds its clocks back."""
    try:
        nvml = Nvml(api)
    except AbsentError:
        return dict.fromkeys(_FIGURES)
    try:
        return _read(gpus_by_id(nvml.devices())[id])
    except (AbsentError, KeyError):
        return dict.fromkeys(_FIGURES)
    finally:
        nvml.close()


def _read(device: Device) -> dict[str, Any]:
    facts = Facts()
    facts.take("sm_mhz", lambda: float(device.ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_SM)))
    facts.take("memory_mhz", lambda: float(device.ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_MEM)))
    facts.take("temperature_c", lambda: temperature_c(device))
    facts.take("power_w", lambda: device.ask("nvmlDeviceGetPowerUsage") / 1000)
    facts.take("throttled", lambda: _throttled(device))
    told = facts.as_dict()
    return {figure: told[figure] for figure in _FIGURES}


def _throttled(device: Device) -> tuple[str, ...]:
    reasons = device.ask("nvmlDeviceGetCurrentClocksEventReasons")
    return tuple(name for name, bit in THROTTLE_REASONS.items() if reasons & bit)
