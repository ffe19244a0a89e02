"""What a process of this node may not go beyond, apart from CPU time and memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from bench.core.cgroup import cgroup_version, pids_limit
from bench.node.facts import AbsentError, Facts, merged, read_text, told

Limit = int | Literal["unlimited"]

_ULIMITS = {
    "locked_memory_bytes": "Max locked memory",
    "open_files": "Max open files",
    "processes": "Max processes",
    "stack_bytes": "Max stack size",
    "address_space_bytes": "Max address space",
    "file_bytes": "Max file size",
}
"""Our name of a limit, and its line in /proc/self/limits, in which every size is of bytes."""


def limit_facts(root: Path = Path("/")) -> dict[str, Any]:
    """The process's soft limits, its control group's, and shared memory; `unlimited` is told as that."""
    facts = Facts()
    facts.take("cgroup_version", lambda: told(cgroup_version(root), "no control group is told"))
    facts.take("pids", lambda: _pids(root))
    facts.take("cpus_allowed", lambda: status_line(root, "Cpus_allowed_list"))
    facts.take("memory_nodes_allowed", lambda: status_line(root, "Mems_allowed_list"))
    facts.take("shared_memory_bytes", lambda: _size(root / "dev/shm"))
    return merged(facts.as_dict(), _ulimits(root))


def status_line(root: Path, name: str) -> str:
    """A line of /proc/self/status. Raises AbsentError when it is not there."""
    for line in read_text(root / "proc/self/status").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    raise AbsentError(f"/proc/self/status has no {name}")


def _pids(root: Path) -> Limit:
    told(cgroup_version(root), "no control group is told")
    return pids_limit(root) or "unlimited"


def _ulimits(root: Path) -> dict[str, Any]:
    lines = cache(lambda: read_text(root / "proc/self/limits").splitlines())
    facts = Facts()
    for name, title in _ULIMITS.items():
        facts.take(name, partial(_soft_limit, lines, title))
    return facts.as_dict()


def _soft_limit(lines: Callable[[], list[str]], title: str) -> Limit:
    for line in lines():
        if line.startswith(title):
            soft = line.removeprefix(title).split()[0]
            return "unlimited" if soft == "unlimited" else int(soft)
    raise AbsentError(f"/proc/self/limits has no {title}")


def _size(folder: Path) -> int:
    try:
        told = os.statvfs(folder)
    except OSError as error:
        raise AbsentError(f"{folder} cannot be asked: {error.strerror}") from error
    return told.f_blocks * told.f_frsize
