"""What control groups leave a process of its machine: CPU time, CPUs and memory, in version 2 and version 1.

Files are read as the kernel documents them (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/). A limit holds for
a whole subtree, so the process's group and each of its ancestors is asked, and the smallest answer counts. Inside a
container the group may be named as the host knows it and not exist here; the mounted root then stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")
_UNLIMITED_BYTES = 1 << 60
"""Version 1 writes no limit as the largest page-aligned 63-bit number; no machine holds an exbibyte."""
_LIMIT_AND_USAGE = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
_EFFECTIVE_CPUS = ("cpuset.cpus.effective", "cpuset.effective_cpus")


def quota_cpus(root: Path = _ROOT) -> float | None:
    """CPUs' worth of time the process may use, often no whole number; None where there is no quota."""
    shares = (_share(group) for group in _groups("cpu", root))
    return min((share for share in shares if share is not None), default=None)


def quota_periods(root: Path = _ROOT) -> tuple[int, int] | None:
    """Periods in which a CPU quota was watched, and those in which it held the process back; None without a quota.

    Of the group that held it back most.
    """
    told = (_periods(group) for group in _groups("cpu", root) if _share(group) is not None)
    return max((counts for counts in told if counts is not None), key=lambda counts: counts[1], default=None)


def cpu_pressure_file(root: Path = _ROOT) -> Path | None:
    """Where the kernel counts how long something of the process's group waited for a CPU; None where it does not."""
    files = (group / "cpu.pressure" for group in _groups("cpu", root))
    return next((file for file in files if file.is_file()), None)


def cpu_list(root: Path = _ROOT) -> str | None:
    """The CPUs the process's group may run on, as a kernel list such as `0-3,8`; None where no group names any."""
    texts = (_text(group / name) for group in _groups("cpuset", root) for name in _EFFECTIVE_CPUS)
    return next((text for text in texts if text), None)


def pids_limit(root: Path = _ROOT) -> int | None:
    """The most processes and threads the process's group may have; None where there is no limit."""
    limits = (_integer(group / "pids.max") for group in _groups("pids", root))
    return min((limit for limit in limits if limit is not None), default=None)


def cgroup_version(root: Path = _ROOT) -> int | None:
    """Which version limits the process: 1 where any controller has a hierarchy of its own, None without groups."""
    lines = (_text(root / "proc/self/cgroup") or "").splitlines()
    if not lines:
        return None
    named = any(line.split(":", 2)[1].partition("=")[0] not in ("", "name") for line in lines)
    return 1 if named else 2


def memory_limit_bytes(root: Path = _ROOT) -> int | None:
    """The most memory the process may use; None where there is no limit."""
    return min((limit for limit, _ in _memory(root)), default=None)


def memory_left_bytes(root: Path = _ROOT) -> int | None:
    """What the process may still take before a limit is reached; None where there is no limit."""
    return min((max(0, limit - used) for limit, used in _memory(root)), default=None)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Every folder whose limits bind the process for `controller`, from its own group up to the mounted root."""
    mount = root / "sys/fs/cgroup"
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        hierarchy = mount / controller if controllers else mount
        group = PurePosixPath(path)
        # A group beyond the container's namespace is told as `/../..`.
        seen = PurePosixPath("/") if ".." in group.parts else group
        yield from (hierarchy / folder.relative_to("/") for folder in (seen, *seen.parents))


def _share(group: Path) -> float | None:
    """CPU time a period by the period, both in microseconds."""
    quota, _, period = (_text(group / "cpu.max") or "").partition(" ")
    if not period:
        quota, period = _text(group / "cpu.cfs_quota_us") or "", _text(group / "cpu.cfs_period_us") or ""
    # No quota is `max` in version 2 and -1 in version 1.
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _periods(group: Path) -> tuple[int, int] | None:
    stat = dict(line.split(maxsplit=1) for line in (_text(group / "cpu.stat") or "").splitlines())
    return (int(stat["nr_periods"]), int(stat["nr_throttled"])) if {"nr_periods", "nr_throttled"} <= set(stat) else None


def _memory(root: Path) -> Iterator[tuple[int, int]]:
    """Limit of each group that has one, and what of it is in use and cannot be had."""
    for group in _groups("memory", root):
        for limit_name, usage_name in _LIMIT_AND_USAGE:
            limit = _integer(group / limit_name)
            if limit is not None and limit < _UNLIMITED_BYTES:
                yield limit, (_integer(group / usage_name) or 0) - _inactive_file_bytes(group)


def _inactive_file_bytes(group: Path) -> int:
    """Page cache the kernel drops before it kills; it is counted as used but is there to be taken."""
    stat = dict(line.split(maxsplit=1) for line in (_text(group / "memory.stat") or "").splitlines())
    return int(stat.get("total_inactive_file") or stat.get("inactive_file") or 0)


def _integer(path: Path) -> int | None:
    text = _text(path) or ""
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
