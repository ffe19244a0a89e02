"""What the machine and its control groups leave this process: memory in bytes and CPU cores."""

from __future__ import annotations

import os
from pathlib import Path

from bench.core.cgroup import memory_left_bytes, quota_cpus

_ROOT = Path("/")


def available_memory_bytes(root: Path = _ROOT) -> int:
    """Memory this process can still take without swapping or being killed."""
    left = memory_left_bytes(root)
    available = _meminfo_available(root)
    return available if left is None else min(available, left)


def usable_cpus(root: Path = _ROOT) -> int:
    """Threads that can run at once: the process's affinity, cut by a CPU quota to whole cores, at least one."""
    cpus = len(os.sched_getaffinity(0))
    quota = quota_cpus(root)
    return cpus if quota is None else max(1, min(cpus, int(quota)))


def _meminfo_available(root: Path) -> int:
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
