"""NVIDIA's kernel modules, as the kernel has loaded them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.node.facts import AbsentError, Facts, read_text

_PEER_MEMORY = ("nvidia_peermem", "nv_peer_mem")
_GDRCOPY = ("gdrdrv",)


def loaded_driver_facts(root: Path) -> dict[str, Any]:
    """Which flavour of the driver is loaded, and whether what lets network cards reach a GPU's memory is."""
    facts = Facts()
    facts.take("kernel_module", lambda: _flavour(root))
    facts.take("peer_memory_loaded", lambda: _is_loaded(root, _PEER_MEMORY))
    facts.take("gdrcopy_loaded", lambda: _is_loaded(root, _GDRCOPY))
    return facts.as_dict()


def _flavour(root: Path) -> str:
    return "open" if "Open Kernel Module" in read_text(root / "proc/driver/nvidia/version") else "proprietary"


def _is_loaded(root: Path, modules: tuple[str, ...]) -> bool:
    loaded = {line.split()[0] for line in read_text(root / "proc/modules").splitlines()}
    if not any(name.startswith("nvidia") for name in loaded):
        raise AbsentError("no driver of NVIDIA's is loaded")
    return any(module in loaded for module in modules)
