"""Network cards: those that the kernel drives as interfaces, and those that reach memory past it (RDMA)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from bench.node.facts import AbsentError, Facts, entries_of, link_target, merged, read_int, read_text
from bench.node.pci import pci_facts

_NAMED_BY_ADDRESS = re.compile(r"(enx|wlx|ibx|rocex|iwx|opax)[0-9a-f]{12,}.*")
"""A name that says by its first letters that a MAC address or a GUID follows."""


def network_facts(root: Path = Path("/")) -> dict[str, Any]:
    """Interfaces with a device behind them, and every port of every RDMA device.

    MAC addresses, GUIDs and node descriptions, which are host names, are not read.
    """
    facts = Facts()
    facts.take("interfaces", lambda: [_interface(*one) for one in _publicly_named(_real_interfaces(root))])
    facts.take("rdma", lambda: [port for one in _publicly_named(_rdma_devices(root)) for port in _ports(*one)])
    return facts.as_dict()


def _real_interfaces(root: Path) -> list[Path]:
    """Raises AbsentError where all are virtual."""
    real = [folder for folder in entries_of(root / "sys/class/net") if (folder / "device").exists()]
    if not real:
        raise AbsentError("no network interface has a device behind it")
    return real


def _interface(name: str, folder: Path) -> dict[str, Any]:
    facts = Facts()
    facts.take("device", lambda: name)
    facts.take("driver", lambda: link_target(folder / "device/driver"))
    facts.take("driver_version", lambda: read_text(folder / "device/driver/module/version"))
    facts.take("model", lambda: _model(folder / "device"))
    facts.take("virtual_function", lambda: (folder / "device/physfn").exists())
    facts.take("state", lambda: read_text(folder / "operstate"))
    facts.take("mbit_per_s", lambda: _speed(folder / "speed"))
    facts.take("mtu", lambda: read_int(folder / "mtu"))
    return _under_its_name(name, folder, merged(facts.as_dict(), pci_facts(folder / "device")))


def _rdma_devices(root: Path) -> list[Path]:
    return entries_of(root / "sys/class/infiniband")


def _ports(name: str, device: Path) -> list[dict[str, Any]]:
    return [_port(name, device, folder) for folder in entries_of(device / "ports")]


def _port(name: str, device: Path, folder: Path) -> dict[str, Any]:
    facts = Facts()
    facts.take("device", lambda: f"{name}/{folder.name}")
    facts.take("driver", lambda: link_target(device / "device/driver"))
    facts.take("type", lambda: read_text(device / "hca_type"))
    facts.take("board", lambda: read_text(device / "board_id"))
    facts.take("firmware", lambda: read_text(device / "fw_ver"))
    facts.take("link_layer", lambda: read_text(folder / "link_layer"))
    facts.take("state", lambda: read_text(folder / "state").rpartition(": ")[2].lower())
    facts.take("rate", lambda: read_text(folder / "rate"))
    return _under_its_name(name, device, merged(facts.as_dict(), pci_facts(device / "device")))


def _publicly_named(devices: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Devices with their names, or numbers for the addresses that names are made of.

    A pseudonym would not do: its maker's part is known, so that few addresses are left to be tried.
    """
    numbers: dict[str, Iterator[int]] = defaultdict(count)
    for device in devices:
        made = _NAMED_BY_ADDRESS.fullmatch(device.name)
        yield device.name if made is None else f"{made[1]}{next(numbers[made[1]])}", device


def _under_its_name(name: str, device: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """`facts` with reasons that name the device, in the path of a file, as it is publicly named."""
    missing = {fact: reason.replace(device.name, name) for fact, reason in facts["missing"].items()}
    return {**facts, "missing": missing}


def _model(device: Path) -> str:
    """The maker's number and the card's, as in the PCI ID database: `15b3:1021`."""
    return ":".join(read_text(device / name).removeprefix("0x") for name in ("vendor", "device"))


def _speed(path: Path) -> int:
    speed = read_int(path)
    if speed < 0:
        raise AbsentError("the driver does not know the link's speed")
    return speed
