"""Memory and cores left to the engine, read from made-up machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.native.cgroup import available_memory_bytes, usable_cpus

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with 8 GiB available and no control groups."""
    write(tmp_path, "proc/meminfo", f"MemTotal: {16 * GIB // 1024} kB\nMemAvailable: {8 * GIB // 1024} kB\n")
    return tmp_path


def write(root: Path, path: str, text: object) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def test_without_a_limit_the_machine_decides(machine: Path) -> None:
    assert available_memory_bytes(machine) == 8 * GIB
    assert usable_cpus(machine) == len(os.sched_getaffinity(0))


def test_a_limit_on_an_ancestor_binds_and_page_cache_does_not_count(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "0::/pod/container")
    write(machine, "sys/fs/cgroup/pod/container/memory.max", "max")
    write(machine, "sys/fs/cgroup/pod/container/memory.current", GIB)
    write(machine, "sys/fs/cgroup/pod/memory.max", 4 * GIB)
    write(machine, "sys/fs/cgroup/pod/memory.current", 3 * GIB)
    write(machine, "sys/fs/cgroup/pod/memory.stat", f"anon {GIB}\ninactive_file {2 * GIB}")
    assert available_memory_bytes(machine) == 3 * GIB


def test_a_container_sees_its_own_group_at_the_root_of_the_mount(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "0::/docker/0123abc")
    write(machine, "sys/fs/cgroup/memory.max", 2 * GIB)
    write(machine, "sys/fs/cgroup/memory.current", GIB)
    write(machine, "sys/fs/cgroup/cpu.max", "100000 100000")
    assert available_memory_bytes(machine) == GIB
    assert usable_cpus(machine) == 1


def test_version_1_is_read_too(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "4:memory:/job\n1:cpu,cpuacct:/job")
    write(machine, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", GIB)
    write(machine, "sys/fs/cgroup/memory/job/memory.usage_in_bytes", GIB // 4)
    write(machine, "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", 50_000)
    write(machine, "sys/fs/cgroup/cpu/job/cpu.cfs_period_us", 100_000)
    assert available_memory_bytes(machine) == GIB - GIB // 4
    assert usable_cpus(machine) == 1


def test_no_quota_is_no_bound(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "0::/\n1:cpu:/")
    write(machine, "sys/fs/cgroup/cpu.max", "max 100000")
    write(machine, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", -1)
    write(machine, "sys/fs/cgroup/cpu/cpu.cfs_period_us", 100_000)
    assert usable_cpus(machine) == len(os.sched_getaffinity(0))
