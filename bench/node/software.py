"""The operating system and what stands between it and the hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.core.pseudonym import pseudonym
from bench.node.facts import AbsentError, Facts, read_text

_CONTAINER_MARKS = (
    ("var/run/secrets/kubernetes.io", "kubernetes"),
    ("run/.containerenv", "podman"),
    (".dockerenv", "docker"),
)


def host_facts(root: Path = Path("/")) -> dict[str, Any]:
    """Kernel, distribution, pseudonyms of the machine and of this boot, and what kind of machine or container it is."""
    facts = Facts()
    facts.take("kernel", lambda: read_text(root / "proc/sys/kernel/osrelease"))
    facts.take("distribution", lambda: _distribution(root))
    container = facts.take("container", lambda: _container(root))
    facts.take("machine", lambda: _machine(root, container))
    facts.take("boot", lambda: pseudonym(read_text(root / "proc/sys/kernel/random/boot_id")))
    facts.take("vendor", lambda: read_text(root / "sys/class/dmi/id/sys_vendor"))
    facts.take("product", lambda: read_text(root / "sys/class/dmi/id/product_name"))
    facts.take("virtual_machine", lambda: _hypervisor(root))
    return facts.as_dict()


def _machine(root: Path, container: str | None) -> str:
    if container is not None:
        raise AbsentError("a container's machine-id comes with its image, so that strangers share it")
    return pseudonym(read_text(root / "etc/machine-id"))


def _distribution(root: Path) -> str:
    for line in read_text(root / "etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    raise AbsentError("/etc/os-release has no PRETTY_NAME")


def _hypervisor(root: Path) -> bool:
    text = read_text(root / "proc/cpuinfo")
    if "flags" not in text:
        raise AbsentError("only x86 kernels tell whether there is a hypervisor")
    return " hypervisor " in text


def _container(root: Path) -> str:
    for mark, kind in _CONTAINER_MARKS:
        if (root / mark).exists():
            return kind
    raise AbsentError("nothing marks this as a container")
