"""What control groups leave a process, read from made-up machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.cgroup import (
    cgroup_version,
    cpu_list,
    memory_left_bytes,
    memory_limit_bytes,
    pids_limit,
    quota_cpus,
)

GIB = 1 << 30
Machine = Callable[..., Path]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """`machine("0::/job", {"job/cpu.max": "max 100000"})`: the process's groups, and files below the mount."""

    def build(groups: str, files: dict[str, object]) -> Path:
        for path, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{n}": t for n, t in files.items()}}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(f"{text}\n")
        return tmp_path

    return build


def test_a_machine_without_control_groups_sets_no_limit(tmp_path: Path) -> None:
    assert quota_cpus(tmp_path) is None
    assert cpu_list(tmp_path) is None
    assert memory_limit_bytes(tmp_path) is None
    assert memory_left_bytes(tmp_path) is None


def test_a_limit_on_an_ancestor_binds_and_page_cache_does_not_count(machine: Machine) -> None:
    root = machine(
        "0::/pod/container",
        {
            "pod/container/memory.max": "max",
            "pod/container/memory.current": GIB,
            "pod/memory.max": 4 * GIB,
            "pod/memory.current": 3 * GIB,
            "pod/memory.stat": f"anon {GIB}\ninactive_file {2 * GIB}",
            "pod/container/cpu.max": "400000 100000",
            "pod/cpu.max": "150000 100000",
        },
    )
    assert memory_limit_bytes(root) == 4 * GIB
    assert memory_left_bytes(root) == 3 * GIB
    assert quota_cpus(root) == 1.5


@pytest.mark.parametrize("group", ["/docker/0123abc", "/../../system.slice"])
def test_a_container_sees_its_own_group_at_the_root_of_the_mount(machine: Machine, group: str) -> None:
    files = {"memory.max": 2 * GIB, "memory.current": GIB, "cpu.max": "100000 100000", "cpuset.cpus.effective": "0,2-3"}
    root = machine(f"0::{group}", files)
    assert memory_left_bytes(root) == GIB
    assert quota_cpus(root) == 1
    assert cpu_list(root) == "0,2-3"


def test_version_1_is_read_too(machine: Machine) -> None:
    root = machine(
        "4:memory:/job\n2:cpuset:/job\n1:cpu,cpuacct:/job",
        {
            "memory/job/memory.limit_in_bytes": GIB,
            "memory/job/memory.usage_in_bytes": GIB // 4,
            "memory/memory.limit_in_bytes": 9223372036854771712,
            "cpuset/job/cpuset.effective_cpus": "4-7",
            "cpu/job/cpu.cfs_quota_us": 50_000,
            "cpu/job/cpu.cfs_period_us": 100_000,
        },
    )
    assert memory_limit_bytes(root) == GIB
    assert memory_left_bytes(root) == GIB - GIB // 4
    assert cpu_list(root) == "4-7"
    assert quota_cpus(root) == 0.5


def test_no_quota_is_no_bound(machine: Machine) -> None:
    root = machine(
        "0::/\n4:memory:/\n1:cpu:/",
        {
            "cpu.max": "max 100000",
            "cpu/cpu.cfs_quota_us": -1,
            "cpu/cpu.cfs_period_us": 100_000,
            "memory/memory.limit_in_bytes": 9223372036854771712,
        },
    )
    assert quota_cpus(root) is None
    assert memory_limit_bytes(root) is None


def test_more_in_use_than_allowed_leaves_nothing(machine: Machine) -> None:
    assert memory_left_bytes(machine("0::/", {"memory.max": GIB, "memory.current": 2 * GIB})) == 0


@pytest.mark.parametrize(
    ("groups", "files", "limit", "version"),
    [
        ("0::/job", {"job/pids.max": "max", "pids.max": 512}, 512, 2),
        ("8:pids:/job\n1:name=systemd:/\n0::/", {"pids/job/pids.max": 64}, 64, 1),
        ("1:name=systemd:/\n0::/", {"pids.max": "max"}, None, 2),
    ],
    ids=["ancestor-binds", "version-1", "only-named"],
)
def test_processes_are_limited_by_the_smallest_of_the_groups(
    machine: Machine, groups: str, files: dict[str, object], limit: int | None, version: int
) -> None:
    root = machine(groups, files)
    assert (pids_limit(root), cgroup_version(root)) == (limit, version)


def test_a_machine_without_control_groups_has_no_version(tmp_path: Path) -> None:
    assert cgroup_version(tmp_path) is None
    assert pids_limit(tmp_path) is None
