"""Where a GPU sits and what it is joined to: PCIe and NUMA, NVLink, its fabric, and its place in a rack."""

from __future__ import annotations

from ctypes import byref
from pathlib import Path
from typing import Any

import pynvml

from bench.core.pseudonym import pseudonym
from bench.node.facts import AbsentError, Facts, all_missing, named, told
from bench.node.nvml import Device
from bench.node.pci import nearest_cpus, numa_node, pci_folder

_NVLINK_VERSIONS = {1: "1.0", 2: "2.0", 3: "2.2", 4: "3.0", 5: "3.1", 6: "4.0", 7: "5.0", 8: "6.0"}
_REMOTES = {
    pynvml.NVML_NVLINK_DEVICE_TYPE_GPU: "gpu",
    pynvml.NVML_NVLINK_DEVICE_TYPE_IBMNPU: "processor",
    pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH: "switch",
    pynvml.NVML_NVLINK_DEVICE_TYPE_UNKNOWN: "unknown",
}
_FABRIC_STATES = ("not supported", "not started", "in progress", "completed")
_MISCONFIGURED = (
    *("not told", "no", "wrong system GUID", "wrong chassis serial", "no partition"),
    *("too few NVLinks", "incompatible firmware", "invalid location", "invalid GPU state"),
)
_ADDRESSING_MODES = ("none", "heterogeneous memory management", "address translation services")
_YES, _NO = 1, 2
"""What two bits of the fabric's health mask say; 0 is that it does not tell."""


def seat_facts(device: Device, root: Path) -> dict[str, Any]:
    """PCIe address, the processors and NUMA node next to it, and its own NUMA node where its memory is one."""
    facts = Facts()
    address = facts.take("pci_address", lambda: _pci_address(device))
    facts.take("numa_node", lambda: numa_node(pci_folder(root, _known(address))))
    facts.take("nearest_cpus", lambda: nearest_cpus(pci_folder(root, _known(address))))
    facts.take("memory_numa_node", lambda: int(device.ask("nvmlDeviceGetNumaNodeId")))
    facts.take("addressing_mode", lambda: _addressing_mode(device))
    facts.take("c2c_enabled", lambda: bool(device.ask("nvmlDeviceGetC2cModeInfoV").isC2cEnabled))
    facts.take("c2c_links", lambda: int(device.field(pynvml.NVML_FI_DEV_C2C_LINK_COUNT, 0)))
    return facts.as_dict()


def nvlink_facts(device: Device) -> dict[str, Any]:
    """NVLink: links the GPU has, those that are up, where to, their version and speed (one link, one direction)."""
    facts = Facts()
    states = facts.take("links", lambda: _link_states(device))
    facts.take("active", lambda: sum(told(states, "the links cannot be listed")))
    facts.take("version", lambda: _version(device, told(states, "the links cannot be listed")))
    facts.take("remote", lambda: _remotes(device, told(states, "the links cannot be listed")))
    speed = pynvml.NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON
    facts.take("mb_per_s", lambda: _above_zero(int(device.field(speed, 0)), "no link is up"))
    listed = facts.as_dict()
    return {**listed, "links": None if states is None else len(states)}


def fabric_facts(device: Device) -> dict[str, Any]:
    """The NVLink fabric: how far the GPU is registered, its cluster (a pseudonym) and clique, and the fabric's health.

    GPUs of one cluster and one clique reach each other's memory. A fabric inside one node has no cluster.
    """
    facts = Facts()
    try:
        info = _fabric_info(device)
    except AbsentError as absent:
        names = ("state", "cluster", "clique", "degraded_bandwidth", "route_unhealthy", "misconfigured")
        return all_missing(names, str(absent))
    facts.take("state", lambda: named(_FABRIC_STATES, "state of the fabric", info.state))
    facts.take("cluster", lambda: _cluster(bytes(info.clusterUuid)))
    facts.take("clique", lambda: _clique(info))
    facts.take("degraded_bandwidth", lambda: _flag(info.healthMask, "DEGRADED_BW"))
    facts.take("route_unhealthy", lambda: _flag(info.healthMask, "ROUTE_UNHEALTHY"))
    facts.take("misconfigured", lambda: _misconfigured(info.healthMask))
    return facts.as_dict()


def platform_facts(device: Device) -> dict[str, Any]:
    """The place in a rack (NVL72): slot, tray, host and module.

    The chassis is known by its serial number alone, which is soon guessed from a pseudonym: the fabric's cluster tells
    racks apart.
    """
    kind = pynvml.c_nvmlPlatformInfo_v2_t
    members = {"slot": "slotNumber", "tray": "trayIndex", "host": "hostId", "peers": "peerType", "module": "moduleId"}
    try:
        raw = _platform(device)
    except AbsentError as absent:
        return all_missing(members, str(absent))
    # From the bytes: pynvml reads a number of one byte as a character, and fails from 128 on.
    return {**{name: raw[getattr(kind, member).offset] for name, member in members.items()}, "missing": {}}


def _known(address: str | None) -> str:
    return told(address, "the PCIe address is not known")


def _pci_address(device: Device) -> str:
    """As the kernel writes it, with a domain of four digits; NVML tells eight."""
    info = device.ask("nvmlDeviceGetPciInfo")
    domain, rest = str(info.busId).lower().split(":", 1)
    return f"{int(domain, 16):04x}:{rest}"


def _addressing_mode(device: Device) -> str:
    return named(_ADDRESSING_MODES, "addressing mode", device.ask("nvmlDeviceGetAddressingMode"))


def _link_states(device: Device) -> list[bool]:
    """Whether each link is up. Raises AbsentError where there is none, with what NVML says of the first."""
    states = [bool(device.ask("nvmlDeviceGetNvLinkState", 0))]
    for link in range(1, pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            states.append(bool(device.ask("nvmlDeviceGetNvLinkState", link)))
        except AbsentError:
            break  # the first number that is no link of this GPU
    return states


def _version(device: Device, states: list[bool]) -> str:
    if not any(states):
        raise AbsentError("no link is up")
    number = device.ask("nvmlDeviceGetNvLinkVersion", states.index(True))
    return told(_NVLINK_VERSIONS.get(number), f"NVLink version {number} is not known")


def _remotes(device: Device, states: list[bool]) -> list[str]:
    """What is at the other end of the links that are up: one kind in a whole machine, more where some are miswired."""
    active = [link for link, is_up in enumerate(states) if is_up]
    kinds = {device.ask("nvmlDeviceGetNvLinkRemoteDeviceType", link) for link in active}
    return sorted(_REMOTES.get(kind, f"type {kind}") for kind in kinds)


def _above_zero(number: int, otherwise: str) -> int:
    return told(number or None, otherwise)


def _fabric_info(device: Device) -> Any:
    info = pynvml.c_nvmlGpuFabricInfoV_t()
    device.ask("nvmlDeviceGetGpuFabricInfoV", byref(info))
    if info.state == pynvml.NVML_GPU_FABRIC_STATE_NOT_SUPPORTED:
        raise AbsentError("NVML says that this GPU is of no NVLink fabric")
    return info


def _cluster(uuid: bytes) -> str:
    if not any(uuid):
        raise AbsentError("the fabric has no cluster: it is inside one node, or not registered yet")
    return pseudonym(uuid.hex())


def _clique(info: Any) -> int:
    if info.state != pynvml.NVML_GPU_FABRIC_STATE_COMPLETED:
        raise AbsentError("the fabric has not finished registering this GPU")
    if info.status != pynvml.NVML_SUCCESS:
        raise AbsentError(f"the fabric refused this GPU: {pynvml.NVMLError(info.status)}")
    return int(info.cliqueId)


def _flag(mask: int, name: str) -> bool:
    said = _bits(mask, name)
    if said not in (_YES, _NO):
        raise AbsentError("the fabric's health does not tell")
    return said == _YES


def _misconfigured(mask: int) -> str:
    said = named(_MISCONFIGURED, "misconfiguration of the fabric", _bits(mask, "INCORRECT_CONFIGURATION"))
    if said == _MISCONFIGURED[0]:
        raise AbsentError("the fabric's health does not tell")
    return said


def _bits(mask: int, name: str) -> int:
    shift = getattr(pynvml, f"NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_{name}")
    width = getattr(pynvml, f"NVML_GPU_FABRIC_HEALTH_MASK_WIDTH_{name}")
    return int(mask >> shift & width)


def _platform(device: Device) -> bytes:
    info = pynvml.c_nvmlPlatformInfo_v2_t()
    device.ask("nvmlDeviceGetPlatformInfo", byref(info))
    return bytes(info)
