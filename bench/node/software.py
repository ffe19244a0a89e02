"""The operating system and what stands between it and the hardware."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from bench.core.pseudonym import pseudonym
from bench.node.cpu import first_processor
from bench.node.facts import AbsentError, Facts, merged, read_text
from bench.node.kernel import clock_sources, kernel_facts

_CONTAINER_MARKS = (
    ("var/run/secrets/kubernetes.io", "kubernetes"),
    ("run/.containerenv", "podman"),
    (".dockerenv", "docker"),
)

_DMI = "sys/class/dmi/id"
_CLOCKS = {"kvm-clock": "kvm", "hyperv_clocksource_tsc_page": "hyper-v", "xen": "xen"}
_MADE_UP = {
    "QEMU": "kvm",
    "KVM": "kvm",
    "Google Compute Engine": "kvm",
    "VMware, Inc.": "vmware",
    "Virtual Machine": "hyper-v",
}
"""Vendors and products of machines that only hypervisors make, and which those are."""


def host_facts(root: Path = Path("/")) -> dict[str, Any]:
    """Kernel and how it was started, distribution, pseudonyms of the machine and of this boot, maker, hypervisor."""
    facts = Facts()
    facts.take("kernel", lambda: read_text(root / "proc/sys/kernel/osrelease"))
    facts.take("distribution", lambda: _distribution(root))
    container = facts.take("container", lambda: _container(root))
    facts.take("machine", lambda: _machine(root, container))
    facts.take("boot", lambda: pseudonym(read_text(root / "proc/sys/kernel/random/boot_id")))
    facts.take("vendor", lambda: read_text(root / _DMI / "sys_vendor"))
    facts.take("product", lambda: read_text(root / _DMI / "product_name"))
    facts.take("board", lambda: read_text(root / _DMI / "board_name"))
    facts.take("firmware", lambda: read_text(root / _DMI / "bios_version"))
    facts.take("firmware_date", lambda: read_text(root / _DMI / "bios_date"))
    facts.take("virtual_machine", lambda: _is_virtual(root))
    facts.take("hypervisor", lambda: _hypervisor(root))
    return merged(facts.as_dict(), kernel_facts(root))


def _machine(root: Path, container: str | None) -> str:
    if container is not None:
        raise AbsentError("a container's machine-id comes with its image, so that strangers share it")
    return pseudonym(read_text(root / "etc/machine-id"))


def _distribution(root: Path) -> str:
    for line in read_text(root / "etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    raise AbsentError("/etc/os-release has no PRETTY_NAME")


def _is_virtual(root: Path) -> bool:
    flags = first_processor(root).get("flags")
    if flags is None:
        raise AbsentError("only x86 kernels tell whether there is a hypervisor")
    return "hypervisor" in flags.split()


def _hypervisor(root: Path) -> str:
    """By what it says of itself, by the clock it gives its guests, or by the machine it makes up."""
    with contextlib.suppress(AbsentError):
        return read_text(root / "sys/hypervisor/type")
    for source, hypervisor in _CLOCKS.items():
        with contextlib.suppress(AbsentError):
            if source in clock_sources(root):
                return hypervisor
    for name in ("sys_vendor", "product_name"):
        with contextlib.suppress(AbsentError):
            if made_up := _MADE_UP.get(read_text(root / _DMI / name)):
                return made_up
    raise AbsentError("nothing names a hypervisor")


def _container(root: Path) -> str:
    for mark, kind in _CONTAINER_MARKS:
        if os.path.exists(root / mark):  # false, where Path raises, for a folder that may not be looked into
            return kind
    raise AbsentError("nothing marks this as a container")
