"""What a maker put on a GPU's board: what its InfoROM says, how hot it may get, and how its memory has worn."""

from __future__ import annotations

from functools import partial
from typing import Any

import pynvml

from bench.node.facts import Facts
from bench.node.nvml import Device

_INFOROM = {
    "oem": pynvml.NVML_INFOROM_OEM,
    "ecc": pynvml.NVML_INFOROM_ECC,
    "power": pynvml.NVML_INFOROM_POWER,
}
_THRESHOLDS = {
    "shutdown_c": pynvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN,
    "slowdown_c": pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN,
    "memory_max_c": pynvml.NVML_TEMPERATURE_THRESHOLD_MEM_MAX,
    "gpu_max_c": pynvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX,
}
_MARGINS = {
    "shutdown_margin_c": pynvml.NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT,
    "slowdown_margin_c": pynvml.NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT,
    "memory_max_margin_c": pynvml.NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT,
    "gpu_max_margin_c": pynvml.NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT,
}
"""Since Ada and Hopper limits are told as what is left to the GPU's own limit (T.Limit), below zero beyond it."""

_SPARE = ("max", "high", "partial", "low", "none")
"""How many of its spare rows a bank has left, in NVML's words: from all of them to none."""


def inforom_facts(device: Device) -> dict[str, Any]:
    """Versions of the InfoROM: the image's and its parts'."""
    facts = Facts()
    facts.take("image", lambda: str(device.ask("nvmlDeviceGetInforomImageVersion")))
    for name, part in _INFOROM.items():
        facts.take(name, partial(_inforom, device, part))
    return facts.as_dict()


def temperature_limit_facts(device: Device) -> dict[str, Any]:
    """From which temperatures on the GPU slows down and shuts down, and the most for itself and its memory."""
    facts = Facts()
    for name, threshold in _THRESHOLDS.items():
        facts.take(name, partial(device.ask, "nvmlDeviceGetTemperatureThreshold", threshold))
    facts.take_all(tuple(_MARGINS), lambda: device.fields([(field, 0) for field in _MARGINS.values()]))
    return facts.as_dict()


def row_remapping_facts(device: Device) -> dict[str, Any]:
    """Memory rows put out of use after errors, the banks by how many spare rows are left, and what waits for a reset.

    A remapping that is pending waits for one, and so do repairs; a remapping that failed had no spare row left.
    """
    facts = Facts()
    facts.take_all(("corrected_rows", "uncorrected_rows", "pending", "failed"), lambda: _remapped(device))
    facts.take_all([f"banks_with_{left}_spare" for left in _SPARE], lambda: _banks(device))
    facts.take_all(("channel_repair_pending", "tpc_repair_pending"), lambda: _repairs(device))
    return facts.as_dict()


def _inforom(device: Device, part: int) -> str:
    return str(device.ask("nvmlDeviceGetInforomVersion", part))


def _remapped(device: Device) -> tuple[int, int, bool, bool]:
    corrected, uncorrected, pending, failed = device.ask("nvmlDeviceGetRemappedRows")
    return corrected, uncorrected, bool(pending), bool(failed)


def _banks(device: Device) -> list[int]:
    histogram = device.ask("nvmlDeviceGetRowRemapperHistogram")
    return [int(getattr(histogram, left)) for left in _SPARE]


def _repairs(device: Device) -> list[bool]:
    return [bool(pending) for pending in device.ask("nvmlDeviceGetRepairStatus")]
