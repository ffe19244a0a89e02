"""What machine this is: whatever may explain why two runs of one case differ, and the key that offers name it by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pynvml

from bench.node.cpu import cpu_facts
from bench.node.gpu import gpu_facts
from bench.node.limits import limit_facts
from bench.node.memory import memory_facts
from bench.node.network import network_facts
from bench.node.software import host_facts
from bench.node.storage import storage_facts


@dataclass(frozen=True, slots=True)
class HardwareKey:
    """The machine in the words of datasheets and offers."""

    key: str
    """A datasheet's name (`h100_sxm`), or `cpu-x86_64-2c`: architecture and vCPUs of the whole node."""
    unit: Literal["accelerator", "node"]
    """What one unit of `key` is."""
    units: int
    """How many of them the machine has."""


def fingerprint(root: Path = Path("/"), api: Any = pynvml, folders: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """Host, CPU, memory, limits, GPUs, network and storage.

    Each part is a mapping whose `missing` gives the reason for every null in it; `bench.node.fact_kinds` says what each
    fact is to whoever compares nodes. `root` is where /proc, /sys and /etc are; `api` is pynvml; `folders` are those
    whose file system matters, by what they are for.
    """
    return {
        "host": host_facts(root),
        "cpu": cpu_facts(root),
        "memory": memory_facts(root),
        "limits": limit_facts(root),
        "gpu": gpu_facts(api, root),
        "network": network_facts(root),
        "storage": storage_facts(root, folders),
    }


def hardware_key(fingerprint: Mapping[str, Any], patterns: Mapping[str, Sequence[str]]) -> HardwareKey:
    """The machine's key: by GPU where there is one, by architecture and vCPUs otherwise.

    `patterns` gives for each datasheet the regular expressions that match the whole of its GPUs' NVML names. A GPU no
    datasheet knows is called by its own name, and one cut into MIG instances says so: neither is ever taken for a whole
    accelerator that an offer prices. Different GPUs in one machine give their keys joined by `+`.
    """
    devices = fingerprint["gpu"]["devices"]
    if not devices:
        cpu = fingerprint["cpu"]
        return HardwareKey(f"cpu-{cpu['architecture']}-{cpu['node_vcpus'] or '?'}c", "node", 1)
    keys = {_accelerator_key(device, patterns) for device in devices}
    return HardwareKey("+".join(sorted(keys)), "accelerator", len(devices))


def _accelerator_key(device: Mapping[str, Any], patterns: Mapping[str, Sequence[str]]) -> str:
    name = device["name"] or "unnamed GPU"
    known = (key for key, names in patterns.items() if any(re.fullmatch(p, name, re.IGNORECASE) for p in names))
    key = next(known, re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"))
    return f"{key}-mig" if device["mig_enabled"] else key
