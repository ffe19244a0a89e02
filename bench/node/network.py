"""Network cards: those that the kernel drives as interfaces, and those that reach memory past it (RDMA)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench.core.pseudonym import pseudonym
from bench.node.facts import AbsentError, Facts, entries_of, link_target, merged, read_int, read_text
from bench.node.pci import pci_facts

_NAMED_BY_ADDRESS = re.compile(r"(enx|wlx|ibx|rocex|iwx|opax)([0-9a-f]{12,})")
"""A name that says by its first letters that a MAC address or a GUID follows."""


def network_facts(root: Path = Path("/")) -> dict[str, Any]:
    """Interfaces with a device behind them, and every port of every RDMA device.

    MAC addresses, GUIDs and node descriptions, which are host names, are not read.
    """
    facts = Facts()
    facts.take("interfaces", lambda: [_interface(folder) for folder in _real_interfaces(root)])
    facts.take("rdma", lambda: [_port(port) for port in _rdma_ports(root)])
    return facts.as_dict()


def _real_interfaces(root: Path) -> list[Path]:
    """Raises AbsentError where all are virtual."""
    real = [folder for folder in entries_of(root / "sys/class/net") if (folder / "device").exists()]
    if not real:
        raise AbsentError("no network interface has a device behind it")
    return real


def _interface(folder: Path) -> dict[str, Any]:
    facts = Facts()
    facts.take("device", lambda: _public(folder.name))
    facts.take("driver", lambda: link_target(folder / "device/driver"))
    facts.take("driver_version", lambda: read_text(folder / "device/driver/module/version"))
    facts.take("model", lambda: _model(folder / "device"))
    facts.take("virtual_function", lambda: (folder / "device/physfn").exists())
    facts.take("state", lambda: read_text(folder / "operstate"))
    facts.take("mbit_per_s", lambda: _speed(folder / "speed"))
    facts.take("mtu", lambda: read_int(folder / "mtu"))
    return merged(facts.as_dict(), pci_facts(folder / "device"))


def _rdma_ports(root: Path) -> list[Path]:
    devices = entries_of(root / "sys/class/infiniband")
    return [port for device in devices for port in entries_of(device / "ports")]


def _port(folder: Path) -> dict[str, Any]:
    device = folder.parent.parent
    facts = Facts()
    facts.take("device", lambda: f"{_public(device.name)}/{folder.name}")
    facts.take("driver", lambda: link_target(device / "device/driver"))
    facts.take("type", lambda: read_text(device / "hca_type"))
    facts.take("board", lambda: read_text(device / "board_id"))
    facts.take("firmware", lambda: read_text(device / "fw_ver"))
    facts.take("link_layer", lambda: read_text(folder / "link_layer"))
    facts.take("state", lambda: read_text(folder / "state").rpartition(": ")[2].lower())
    facts.take("rate", lambda: read_text(folder / "rate"))
    return merged(facts.as_dict(), pci_facts(device / "device"))


def _public(name: str) -> str:
    """The device's name, with a pseudonym for the address it may be made of."""
    made = _NAMED_BY_ADDRESS.fullmatch(name)
    return name if made is None else made[1] + pseudonym(made[2])


def _model(device: Path) -> str:
    """The maker's number and the card's, as in the PCI ID database: `15b3:1021`."""
    return ":".join(read_text(device / name).removeprefix("0x") for name in ("vendor", "device"))


def _speed(path: Path) -> int:
    speed = read_int(path)
    if speed < 0:
        raise AbsentError("the driver does not know the link's speed")
    return speed
