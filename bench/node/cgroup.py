"""What a container or a service may use of its machine: the limits of control groups, version 2 and version 1.

A limit set on any ancestor binds, so each is looked up from the process's own group to the root; the smallest counts.
Inside a container the path in /proc/self/cgroup may be the host's and not exist here; the root then stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bench.node.facts import AbsentError, count_cpu_list, read_int, read_text

_UNLIMITED_BYTES = 1 << 60
"""Version 1 writes no limit as the largest page-aligned 63-bit number; no machine holds an exbibyte."""


def quota_cpus(root: Path) -> float:
    """CPUs' worth of time the process may use. Raises AbsentError where there is no quota."""
    quotas = [*_v2_quotas(root), *_v1_quotas(root)]
    if not quotas:
        raise AbsentError("no control group sets a CPU quota")
    return min(quotas)


def memory_limit_bytes(root: Path) -> int:
    """Most memory the process may use. Raises AbsentError where there is no limit."""
    limits = [
        int(text)
        for text in (*_values(root, None, "memory.max"), *_values(root, "memory", "memory.limit_in_bytes"))
        if text.isdigit() and int(text) < _UNLIMITED_BYTES
    ]
    if not limits:
        raise AbsentError("no control group limits memory")
    return min(limits)


def cpuset_cpus(root: Path) -> int:
    """CPUs the control group may run on. Raises AbsentError where it names none."""
    own = [*_values(root, None, "cpuset.cpus.effective"), *_values(root, "cpuset", "cpuset.effective_cpus")]
    if not own:
        raise AbsentError("no control group names its CPUs")
    return min(count_cpu_list(text) for text in own)


def _v2_quotas(root: Path) -> Iterator[float]:
    for text in _values(root, None, "cpu.max"):
        quota, _, period = text.partition(" ")
        if quota != "max":
            yield int(quota) / int(period or 100_000)


def _v1_quotas(root: Path) -> Iterator[float]:
    for folder in _folders(root, "cpu"):
        try:
            quota, period = read_int(folder / "cpu.cfs_quota_us"), read_int(folder / "cpu.cfs_period_us")
        except AbsentError:
            continue
        if quota > 0:
            yield quota / period


def _values(root: Path, controller: str | None, name: str) -> Iterator[str]:
    """A file's text in the process's group and in each of its ancestors that has it."""
    for folder in _folders(root, controller):
        try:
            yield read_text(folder / name)
        except AbsentError:
            continue


def _folders(root: Path, controller: str | None) -> list[Path]:
    """The process's group and its ancestors under `controller` of version 1, or of version 2 when that is None."""
    mount = root / "sys/fs/cgroup" if controller is None else root / "sys/fs/cgroup" / controller
    group = PurePosixPath(_group(root, controller))
    return [mount / path.relative_to("/") for path in (group, *group.parents)]


def _group(root: Path, controller: str | None) -> str:
    try:
        lines = read_text(root / "proc/self/cgroup").splitlines()
    except AbsentError:
        return "/"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if (controller is None and not controllers) or controller in controllers.split(","):
            return path if path.startswith("/") and ".." not in path else "/"
    return "/"
