"""What the machine and this process's control groups leave it: memory in bytes and CPU cores.

Reads cgroup v2 and v1 as the kernel documents them (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/), and
/proc/meminfo. A limit holds for a whole subtree, so every ancestor of the group is looked at; inside a container
that hides its ancestors, the mounted root is the container's own group.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def available_memory_bytes(root: Path = _ROOT) -> int:
    """Memory this process can still take without swapping or being killed."""
    bounds = [_meminfo_available(root)]
    for group in _groups("memory", root):
        for limit_name, usage_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, usage = _integer(group / limit_name), _integer(group / usage_name)
            if limit is not None and usage is not None:
                bounds.append(max(0, limit - usage + _inactive_file_bytes(group)))
    return min(bounds)


def usable_cpus(root: Path = _ROOT) -> int:
    """Cores this process may use: its affinity, cut by the CPU quota of its groups, at least one."""
    cpus = float(len(os.sched_getaffinity(0)))
    for group in _groups("cpu", root):
        quota, period = _quota(group)
        if quota is not None and period:
            cpus = min(cpus, quota / period)
    return max(1, int(cpus))


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Every folder whose limits bind this process for `controller`, from its own group up to the mounted root."""
    mount = root / "sys/fs/cgroup"
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            hierarchy = mount
        elif controller in controllers.split(","):
            hierarchy = mount / controller
        else:
            continue
        group = hierarchy / path.lstrip("/")
        yield group
        yield from (parent for parent in group.parents if parent == hierarchy or hierarchy in parent.parents)


def _quota(group: Path) -> tuple[int | None, int | None]:
    """CPU time and the period it is granted for, in microseconds; no time where there is no limit."""
    unified = (_text(group / "cpu.max") or "").split()
    if len(unified) == 2:
        return (int(unified[0]) if unified[0].isdigit() else None), int(unified[1])
    quota = _integer(group / "cpu.cfs_quota_us")
    return (quota if quota is not None and quota > 0 else None), _integer(group / "cpu.cfs_period_us")


def _inactive_file_bytes(group: Path) -> int:
    """Page cache the kernel drops before it kills; it is counted as used but is there to be taken."""
    stat = dict(line.split(maxsplit=1) for line in (_text(group / "memory.stat") or "").splitlines())
    return int(stat.get("total_inactive_file") or stat.get("inactive_file") or 0)


def _meminfo_available(root: Path) -> int:
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _integer(path: Path) -> int | None:
    try:
        return int(_text(path) or "")
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
