"""NVIDIA GPUs as their driver describes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pynvml

from bench.core.pseudonym import pseudonym
from bench.node.facts import AbsentError, Facts, merged, named
from bench.node.gpu_board import inforom_facts, row_remapping_facts, temperature_limit_facts
from bench.node.gpu_driver import loaded_driver_facts
from bench.node.gpu_links import fabric_facts, nvlink_facts, platform_facts, seat_facts
from bench.node.gpu_settings import clock_facts, power_limit_facts, power_profile_facts, smoothing_facts
from bench.node.nvml import Device, Nvml, RefusedError

_COMPUTE_MODES = ("default", "exclusive thread", "prohibited", "exclusive process")
_VIRTUALISATION = ("none", "passthrough", "vgpu", "vgpu host", "vsga host")


def _watts(milliwatts: int) -> float:
    return milliwatts / 1000


def _text(answer: str | bytes) -> str:
    """pynvml makes text of what NVML answers, but not of every function's."""
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


_FACTS: tuple[tuple[str, str, tuple[Any, ...], Callable[[Any], Any]], ...] = (
    ("name", "nvmlDeviceGetName", (), str),
    ("id", "nvmlDeviceGetUUID", (), pseudonym),
    ("board_part_number", "nvmlDeviceGetBoardPartNumber", (), str),
    ("compute_capability", "nvmlDeviceGetCudaComputeCapability", (), _dotted),
    ("cuda_cores", "nvmlDeviceGetNumGpuCores", (), int),
    ("memory_bytes", "nvmlDeviceGetMemoryInfo", (), lambda memory: int(memory.total)),
    ("memory_bus_bits", "nvmlDeviceGetMemoryBusWidth", (), int),
    ("vbios", "nvmlDeviceGetVbiosVersion", (), str),
    ("gsp_firmware", "nvmlDeviceGetGspFirmwareVersion", (), _text),
    ("persistence_mode", "nvmlDeviceGetPersistenceMode", (), bool),
    ("compute_mode", "nvmlDeviceGetComputeMode", (), partial(named, _COMPUTE_MODES, "compute mode")),
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
    ("virtualisation", "nvmlDeviceGetVirtualizationMode", (), partial(named, _VIRTUALISATION, "virtualisation mode")),
    ("module_id", "nvmlDeviceGetModuleId", (), int),
)
"""Fact, the NVML function that tells it, its further arguments, and its conversion. PCIe links slow down while idle."""

_SECTIONS: tuple[tuple[str, Callable[[Device], dict[str, Any]]], ...] = (
    ("clocks", clock_facts),
    ("power_limits", power_limit_facts),
    ("power_smoothing", smoothing_facts),
    ("power_profiles", power_profile_facts),
    ("temperature_limits", temperature_limit_facts),
    ("inforom", inforom_facts),
    ("row_remapping", row_remapping_facts),
    ("nvlink", nvlink_facts),
    ("fabric", fabric_facts),
    ("platform", platform_facts),
)
"""Facts that belong together, each with reasons of their own for what is not told."""


def gpu_facts(api: Any = pynvml, root: Path = Path("/")) -> dict[str, Any]:
    """The driver, and every GPU under `devices`: an empty list, with the reason, where there are none."""
    driver = loaded_driver_facts(root)
    facts = Facts()
    try:
        nvml = Nvml(api)
    except AbsentError as absent:
        missing = dict.fromkeys(("driver", "cuda", "confidential_compute", "devices"), str(absent))
        return merged({**dict.fromkeys(missing), "devices": [], "missing": missing}, driver)
    try:
        facts.take("driver", lambda: str(nvml.ask("nvmlSystemGetDriverVersion")))
        facts.take("cuda", lambda: _cuda(nvml.ask("nvmlSystemGetCudaDriverVersion")))
        facts.take("confidential_compute", lambda: bool(nvml.ask("nvmlSystemGetConfComputeState").ccFeature))
        facts.take("devices", lambda: [_device_facts(device, root) for device in nvml.devices()])
        answered = facts.as_dict()
        return merged({**answered, "devices": answered["devices"] or []}, driver)
    finally:
        nvml.close()


def _device_facts(device: Device, root: Path) -> dict[str, Any]:
    facts = Facts()
    for name, function, arguments, convert in _FACTS:
        facts.take(name, partial(_converted, device, function, arguments, convert))
    facts.take_all(("ecc_enabled", "ecc_pending"), lambda: _modes(device, "nvmlDeviceGetEccMode"))
    facts.take_all(("mig_enabled", "mig_pending"), lambda: _modes(device, "nvmlDeviceGetMigMode"))
    facts.take("mig_instances", lambda: _mig_instances(device))
    sections = {name: read(device) for name, read in _SECTIONS}
    return merged(facts.as_dict(), {**sections, "seat": seat_facts(device, root), "missing": {}})


def _converted(device: Device, function: str, arguments: tuple[Any, ...], convert: Callable[[Any], Any]) -> Any:
    return convert(device.ask(function, *arguments))


def _modes(device: Device, function: str) -> list[bool]:
    """Whether something is on, and whether it will be after the next reset."""
    return [bool(mode) for mode in device.ask(function)]


def _mig_instances(device: Device) -> list[str]:
    """The names of the instances the GPU is cut into. Raises AbsentError where it cannot be cut."""
    names: list[str] = []
    enabled, _ = _modes(device, "nvmlDeviceGetMigMode")
    if not enabled:
        return names
    for index in range(device.ask("nvmlDeviceGetMaxMigDeviceCount")):
        try:
            handle = device.ask("nvmlDeviceGetMigDeviceHandleByIndex", index)
        except RefusedError as refused:
            if refused.code != pynvml.NVML_ERROR_NOT_FOUND:
                raise
            continue
        names.append(str(device.nvml.ask("nvmlDeviceGetName", handle)))
    return names


def _cuda(number: int) -> str:
    """NVML tells 13.0 as 13000."""
    return f"{number // 1000}.{number % 1000 // 10}"
