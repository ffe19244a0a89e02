"""NVIDIA GPUs as their driver describes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pynvml

from bench.core.pseudonym import pseudonym
from bench.node.facts import AbsentError, Facts
from bench.node.nvml import Device, Nvml


def _watts(milliwatts: int) -> float:
    return milliwatts / 1000


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


_FACTS: tuple[tuple[str, str, tuple[Any, ...], Callable[[Any], Any]], ...] = (
    ("name", "nvmlDeviceGetName", (), str),
    ("id", "nvmlDeviceGetUUID", (), pseudonym),
    ("compute_capability", "nvmlDeviceGetCudaComputeCapability", (), _dotted),
    ("memory_bytes", "nvmlDeviceGetMemoryInfo", (), lambda memory: int(memory.total)),
    ("vbios", "nvmlDeviceGetVbiosVersion", (), str),
    ("persistence_mode", "nvmlDeviceGetPersistenceMode", (), bool),
    ("ecc_enabled", "nvmlDeviceGetEccMode", (), lambda current_and_pending: bool(current_and_pending[0])),
    ("mig_enabled", "nvmlDeviceGetMigMode", (), lambda current_and_pending: bool(current_and_pending[0])),
    ("power_limit_w", "nvmlDeviceGetPowerManagementLimit", (), _watts),
    ("power_limit_default_w", "nvmlDeviceGetPowerManagementDefaultLimit", (), _watts),
    ("power_limit_enforced_w", "nvmlDeviceGetEnforcedPowerLimit", (), _watts),
    ("sm_clock_mhz", "nvmlDeviceGetClockInfo", (pynvml.NVML_CLOCK_SM,), int),
    ("sm_clock_max_mhz", "nvmlDeviceGetMaxClockInfo", (pynvml.NVML_CLOCK_SM,), int),
    ("memory_clock_mhz", "nvmlDeviceGetClockInfo", (pynvml.NVML_CLOCK_MEM,), int),
    ("memory_clock_max_mhz", "nvmlDeviceGetMaxClockInfo", (pynvml.NVML_CLOCK_MEM,), int),
    ("pcie_generation", "nvmlDeviceGetCurrPcieLinkGeneration", (), int),
    ("pcie_generation_max", "nvmlDeviceGetMaxPcieLinkGeneration", (), int),
    ("pcie_width", "nvmlDeviceGetCurrPcieLinkWidth", (), int),
    ("pcie_width_max", "nvmlDeviceGetMaxPcieLinkWidth", (), int),
    ("module_id", "nvmlDeviceGetModuleId", (), int),
)
"""Fact, the NVML function that tells it, its further arguments, and its conversion. PCIe links slow down while idle."""


def gpu_facts(api: Any = pynvml) -> dict[str, Any]:
    """The driver, and every GPU under `devices`: an empty list, with the reason, where there are none."""
    facts = Facts()
    try:
        nvml = Nvml(api)
    except AbsentError as absent:
        missing = dict.fromkeys(("driver", "cuda", "devices"), str(absent))
        return {"driver": None, "cuda": None, "devices": [], "missing": missing}
    try:
        facts.take("driver", lambda: str(nvml.ask("nvmlSystemGetDriverVersion")))
        facts.take("cuda", lambda: _cuda(nvml.ask("nvmlSystemGetCudaDriverVersion")))
        facts.take("devices", lambda: [_device_facts(device) for device in nvml.devices()])
        told = facts.as_dict()
        return {**told, "devices": told["devices"] or []}
    finally:
        nvml.close()


def _device_facts(device: Device) -> dict[str, Any]:
    facts = Facts()
    for name, function, arguments, convert in _FACTS:
        facts.take(name, partial(_converted, device, function, arguments, convert))
    return facts.as_dict()


def _converted(device: Device, function: str, arguments: tuple[Any, ...], convert: Callable[[Any], Any]) -> Any:
    return convert(device.ask(function, *arguments))


def _cuda(number: int) -> str:
    """NVML tells 13.0 as 13000."""
    return f"{number // 1000}.{number % 1000 // 10}"
