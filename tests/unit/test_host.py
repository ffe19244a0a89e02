"""Memory and cores that made-up machines leave a process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.core.host import available_memory_bytes, usable_cpus

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with 8 GiB available and one control group, without limits."""
    write(tmp_path, "proc/meminfo", f"MemTotal: {16 * GIB // 1024} kB\nMemAvailable: {8 * GIB // 1024} kB")
    write(tmp_path, "proc/self/cgroup", "0::/")
    return tmp_path


def write(root: Path, path: str, text: object) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def test_without_a_limit_the_machine_decides(machine: Path) -> None:
    assert available_memory_bytes(machine) == 8 * GIB
    assert usable_cpus(machine) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("limit", "left"), [(4 * GIB, 3 * GIB), (64 * GIB, 8 * GIB)])
def test_the_smaller_of_machine_and_group_is_available(machine: Path, limit: int, left: int) -> None:
    write(machine, "sys/fs/cgroup/memory.max", limit)
    write(machine, "sys/fs/cgroup/memory.current", GIB)
    assert available_memory_bytes(machine) == left


@pytest.mark.parametrize(("quota", "cpus"), [("190000 100000", 1), ("50000 100000", 1), ("99900000 100000", None)])
def test_a_quota_is_cut_to_whole_cores_and_at_least_one(machine: Path, quota: str, cpus: int | None) -> None:
    write(machine, "sys/fs/cgroup/cpu.max", quota)
    assert usable_cpus(machine) == (cpus or len(os.sched_getaffinity(0)))
