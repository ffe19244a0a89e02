"""What the kernel tells of a PCIe device: the processors next to it, and the link it is reached by."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench.node.facts import AbsentError, Facts, all_missing, read_int, read_text

_DEVICES = "sys/bus/pci/devices"
_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_FACTS = ("pci_address", "numa_node", "pcie_width", "pcie_width_max", "pcie_gt_per_s", "pcie_gt_per_s_max")
_WIDTH_UNKNOWN = 255
"""What the kernel writes for a device without the register, a made-up one for instance."""


def pci_folder(root: Path, address: str) -> Path:
    """Where the kernel tells of a device such as `0000:3b:00.0`."""
    return root / _DEVICES / address


def pci_facts(folder: Path) -> dict[str, Any]:
    """Of a device's folder of /sys: PCIe address, NUMA node, and its link's lanes and 10^9 transfers a second.

    For a device on a bus behind PCIe, as virtio is, those of the PCIe device that carries the bus.
    """
    places = (resolved := folder.resolve(), *resolved.parents)
    device = next((place for place in places if _ADDRESS.fullmatch(place.name)), None)
    if device is None:
        return all_missing(_FACTS, "it is no PCIe device")
    facts = Facts()
    facts.take("pci_address", lambda: device.name)
    facts.take("numa_node", lambda: numa_node(device))
    facts.take("pcie_width", lambda: _lanes(device / "current_link_width"))
    facts.take("pcie_width_max", lambda: _lanes(device / "max_link_width"))
    facts.take("pcie_gt_per_s", lambda: _transfers(device / "current_link_speed"))
    facts.take("pcie_gt_per_s_max", lambda: _transfers(device / "max_link_speed"))
    return facts.as_dict()


def numa_node(device: Path) -> int:
    """The NUMA node a PCIe device hangs on. Raises AbsentError where the firmware names none."""
    node = read_int(device / "numa_node")
    if node < 0:
        raise AbsentError("the firmware names no NUMA node for it")
    return node


def nearest_cpus(device: Path) -> str:
    """The CPUs next to it, as a kernel list such as `0-31,64-95`. Raises AbsentError where they are not told."""
    return read_text(device / "local_cpulist")


def _lanes(path: Path) -> int:
    lanes = read_int(path)
    if lanes in (0, _WIDTH_UNKNOWN):
        raise AbsentError(f"{path} says {lanes}, which is no width")
    return lanes


def _transfers(path: Path) -> float:
    text = read_text(path)
    try:
        return float(text.split()[0])
    except ValueError:
        raise AbsentError(f"{path} says {text[:40]!r}") from None
