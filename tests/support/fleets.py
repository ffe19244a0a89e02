"""Made-up fingerprints of nodes that were sold as the same, in the shape that `bench node show --json` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.pseudonym import pseudonym

GPUS = 2


def figure(value: float, spread: float = 0.005) -> dict[str, Any]:
    """A measured figure whose quartiles lie `spread` of it to either side."""
    ends = {"low": value * (1 - spread), "high": value * (1 + spread)}
    return {"value": value, **ends, "n": 9, "method": "made up", "reason": None}


def node(name: str, gpu: Mapping[str, Any] = {}, measured: Mapping[str, float] = {}, **host: Any) -> dict[str, Any]:
    """A node of two GPUs called `name`; `gpu` and `measured` are laid over what each tells, `host` over its CPU."""
    devices = [_device(f"{name}-{index}", index) | gpu for index in range(GPUS)]
    rates = {"read_bytes_per_s": 2.9e12, "matmul_bfloat16_flops_per_s": 680e12, "host_to_device_bytes_per_s": 25.1e9}
    figures = {
        f"gpu{index}_{of}": figure(value) for index in range(GPUS) for of, value in (rates | dict(measured)).items()
    }
    return {
        "hardware": {"key": "h100_sxm", "unit": "accelerator", "units": GPUS},
        "host": {"kernel": "6.8.0-60-generic", "machine": pseudonym(name), "missing": {}},
        "cpu": {"architecture": "x86_64", "model": "Made-up 9000", "governor": "performance", "missing": {}} | host,
        "memory": {
            "total_bytes": 2 << 40,
            "limit_bytes": None,
            "missing": {"limit_bytes": "no control group limits memory"},
        },
        "gpu": {"driver": "580.95.05", "cuda": "13.0", "devices": devices, "missing": {}},
        "measured": figures,
    }


def _device(name: str, index: int) -> dict[str, Any]:
    return {
        "name": "NVIDIA H100 80GB HBM3",
        "id": pseudonym(name),
        "vbios": "96.00.89.00.01",
        "ecc_enabled": True,
        "power_limit_w": 700.0,
        "sm_clock_mhz": 345 + index,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "seat": {"numa_node": index, "missing": {}},
        "nvlink": {"links": 18, "active": 18, "missing": {}},
        "missing": {},
    }


def six_nodes() -> dict[str, dict[str, Any]]:
    """Six nodes by name: `c` has its GPUs on eight PCIe lanes, `e` a lower power limit; each shows in a figure."""
    near = {
        "a": (25.1e9, 680e12),
        "b": (25.0e9, 684e12),
        "c": (11.9e9, 679e12),
        "d": (25.2e9, 677e12),
        "e": (25.1e9, 560e12),
        "f": (25.1e9, 682e12),
    }
    odd: dict[str, dict[str, Any]] = {"c": {"pcie_width": 8}, "e": {"power_limit_w": 500.0}}
    return {
        name: node(
            name, odd.get(name, {}), {"host_to_device_bytes_per_s": copied, "matmul_bfloat16_flops_per_s": multiplied}
        )
        for name, (copied, multiplied) in near.items()
    }


def write_nodes(folder: Path, nodes: Mapping[str, Any]) -> list[Path]:
    """A file a node, and their paths in the order of their names."""
    for name, description in nodes.items():
        (folder / f"{name}.json").write_text(json.dumps(description))
    return [folder / f"{name}.json" for name in sorted(nodes)]
