"""What each fact of a fingerprint is to somebody who compares nodes that were sold as the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

FactKind = Literal["identity", "build", "setting", "state", "label"]
"""`identity` is what a SKU names: nodes of one SKU have it in common. `build` is what its maker may change under the
same name: boards, firmware, network cards. `setting` is what somebody chose and can choose otherwise, drivers and
limits among it. `state` is how it is at the moment, or what has worn. `label` tells one from another, is never equal,
and means nothing by that."""

KINDS: dict[str, FactKind] = {
    "host": "setting",
    "host.machine": "label",
    "host.boot": "label",
    "host.virtual_machine": "identity",
    "host.hypervisor": "build",
    "host.vendor": "build",
    "host.product": "build",
    "host.board": "build",
    "host.firmware": "build",
    "host.firmware_date": "build",
    "cpu": "setting",
    "cpu.architecture": "identity",
    "cpu.model": "identity",
    "cpu.sockets": "identity",
    "cpu.cores": "identity",
    "cpu.node_vcpus": "identity",
    "cpu.flags": "build",
    "cpu.max_mhz": "build",
    "cpu.microcode": "build",
    "memory": "setting",
    "memory.total_bytes": "identity",
    "memory.limit_bytes": "identity",
    "limits": "setting",
    "gpu": "setting",
    "gpu.devices.count": "identity",
    "gpu.devices.name": "identity",
    "gpu.devices.compute_capability": "identity",
    "gpu.devices.memory_bytes": "identity",
    "gpu.devices.mig_enabled": "identity",
    "gpu.devices.id": "label",
    "gpu.devices.module_id": "label",
    "gpu.devices.platform": "label",
    "gpu.devices.board_part_number": "build",
    "gpu.devices.cuda_cores": "build",
    "gpu.devices.memory_bus_bits": "build",
    "gpu.devices.gsp_firmware": "build",
    "gpu.devices.virtualisation": "build",
    "gpu.devices.vbios": "build",
    "gpu.devices.inforom": "build",
    "gpu.devices.power_limit_default_w": "build",
    "gpu.devices.power_limits": "build",
    "gpu.devices.power_limits.requested_w": "setting",
    "gpu.devices.power_limits.module_w": "setting",
    "gpu.devices.temperature_limits": "build",
    "gpu.devices.sm_clock_max_mhz": "build",
    "gpu.devices.memory_clock_max_mhz": "build",
    "gpu.devices.sm_clock_mhz": "state",
    "gpu.devices.memory_clock_mhz": "state",
    "gpu.devices.pcie_generation_max": "build",
    "gpu.devices.pcie_width_max": "build",
    "gpu.devices.pcie_generation": "state",
    "gpu.devices.pcie_width": "state",
    "gpu.devices.seat": "build",
    "gpu.devices.seat.pci_address": "label",
    "gpu.devices.seat.addressing_mode": "setting",
    "gpu.devices.nvlink": "build",
    "gpu.devices.nvlink.active": "state",
    "gpu.devices.fabric": "state",
    "gpu.devices.fabric.cluster": "label",
    "gpu.devices.fabric.clique": "label",
    "gpu.devices.row_remapping": "state",
    "network": "build",
    "network.interfaces.device": "label",
    "network.interfaces.pci_address": "label",
    "network.interfaces.pcie_width": "state",
    "network.interfaces.pcie_gt_per_s": "state",
    "network.interfaces.state": "state",
    "network.interfaces.mbit_per_s": "state",
    "network.interfaces.mtu": "setting",
    "network.rdma.device": "label",
    "network.rdma.pci_address": "label",
    "network.rdma.pcie_width": "state",
    "network.rdma.pcie_gt_per_s": "state",
    "network.rdma.state": "state",
    "network.rdma.rate": "state",
    "storage": "build",
    "storage.devices.device": "label",
    "storage.devices.scheduler": "setting",
    "storage.folders.free_bytes": "state",
}
"""A name stands for everything below it that is not named itself."""

SECTIONS = tuple(name for name in KINDS if "." not in name)
"""The parts of a node's description that are its fingerprint."""

_LISTS = ("gpu.devices", "network.interfaces", "network.rdma", "storage.devices")
_FOLDERS = "storage.folders"
_UNLIMITED = "unlimited"
_WITHOUT_LIMIT = {
    "cpu.quota_cpus": "no control group sets a CPU quota",
    "memory.limit_bytes": "no control group limits memory",
}
"""Facts that are null where there is no limit, and the reason that then stands beside them: that much is told."""

_ROUNDED = ("memory.total_bytes", "memory.limit_bytes", "gpu.devices.memory_bytes")
_GRAIN = 16


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of a fingerprint, taken out of its outline."""

    name: str
    """Where it stands: `cpu.model`, `gpu.devices.nvlink.active`. Devices of one kind share their facts' names."""
    device: str | None
    """Which device tells it, as the tables of power and health call it (`gpu0`), or what its folder is for; None for a
    fact of the whole node."""
    kind: FactKind
    value: Any
    """None where the machine does not tell it; `unlimited` where it tells that there is no limit."""
    why_missing: str | None = None

    @property
    def compared(self) -> Any:
        """What is held against another node's: sizes of memory without what kernel and driver keep for themselves."""
        rounded = self.name in _ROUNDED and self.value not in (None, _UNLIMITED)
        return _installed(self.value) if rounded else self.value


def facts_of(node: Mapping[str, Any]) -> list[Fact]:
    """Every fact of a fingerprint, or of the node of a record, by the order in which they stand there.

    A list of devices is told device by device, and its length as `….count`. What is no part of a fingerprint (sensors,
    measured rates) is left out, and so is what an older record has not.
    """
    return [fact for section in SECTIONS if section in node for fact in _walk(section, node[section], None)]


def kind_of(name: str) -> FactKind:
    """What the fact `name` is. Raises KeyError for one that is in no section of a fingerprint."""
    place = name
    while place and place not in KINDS:
        place = place.rpartition(".")[0]
    return KINDS[place or name]


def node_class(node: Mapping[str, Any]) -> dict[str, Any]:
    """What nodes of one SKU have in common, by name; for devices the sorted values that occur among them.

    Two nodes are of one SKU when theirs are equal, as far as both tell them. A limit that leaves all memory is none.
    """
    values: dict[str, Any] = {}
    for fact in facts_of(node):
        if fact.kind != "identity":
            continue
        if fact.device is None:
            values[fact.name] = fact.compared
        else:
            values[fact.name] = sorted({*values.get(fact.name, ()), fact.compared}, key=str)
    limit, installed = (values.get(f"memory.{name}_bytes") for name in ("limit", "total"))
    if limit is not None and installed is not None and limit != _UNLIMITED and limit >= installed:
        values["memory.limit_bytes"] = _UNLIMITED
    return values


def _walk(name: str, value: Any, device: str | None, why_missing: str | None = None) -> Iterator[Fact]:
    if name in _LISTS and value is not None:
        yield Fact(f"{name}.count", None, kind_of(f"{name}.count"), len(value), why_missing)
        for index, one in enumerate(value):
            yield from _within(name, one, one.get("device") or f"{name.partition('.')[0]}{index}")
    elif name == _FOLDERS:
        for purpose, folder in value.items():
            yield from _within(name, folder, purpose)
    elif isinstance(value, Mapping):
        yield from _within(name, value, device)
    elif value is None and why_missing is not None and why_missing == _WITHOUT_LIMIT.get(name):
        yield Fact(name, device, kind_of(name), _UNLIMITED)
    else:
        yield Fact(name, device, kind_of(name), value, why_missing)


def _within(name: str, facts: Mapping[str, Any], device: str | None) -> Iterator[Fact]:
    missing = facts.get("missing", {})
    for key, value in facts.items():
        if key != "missing":
            yield from _walk(f"{name}.{key}", value, device, missing.get(key))


def _installed(size: int) -> int:
    """The size rounded up to a sixteenth of the next power of two, which is how memory is sold."""
    grain = max(1, (1 << max(0, size - 1).bit_length()) // _GRAIN)
    return -(-size // grain) * grain
