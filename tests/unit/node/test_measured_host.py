"""What is measured of a host: memory by NUMA node, matrix products, the disk of the results."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.node.facts import AbsentError
from bench.node.measured import disk, host_memory, matmul
from bench.node.measured.affinity import cpus_of
from bench.node.measured.host_memory import last_level_cache_bytes, memory_steps, numa_nodes

Write = Callable[[str, object], Path]
MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:25 / /run rw,nosuid - tmpfs tmpfs rw
31 27 0:26 / /data\\040here rw - xfs /dev/nvme0n1 rw
32 27 0:27 / /mnt/a rw - ext4 /dev/sdb rw
33 32 0:28 / /mnt/a rw - nfs4 server:/a rw"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/", "ext4"), ("/run/user", "tmpfs"), ("/runs", "ext4"), ("/data here/x", "xfs"), ("/mnt/a/b", "nfs4")],
)
def test_a_file_system_is_that_of_the_innermost_and_latest_mount(
    folder: str, kind: str, write: Write, tmp_path: Path
) -> None:
    write("proc/self/mountinfo", MOUNTS)
    assert disk.file_system(Path(folder), tmp_path) == kind


def test_a_file_system_in_memory_is_no_disk(write: Write, tmp_path: Path) -> None:
    write("proc/self/mountinfo", f"{MOUNTS}\n34 27 0:29 / {tmp_path.resolve()} rw - tmpfs tmpfs rw")
    with pytest.raises(AbsentError, match=r"is in memory \(tmpfs\)"):
        disk.read_rate(tmp_path, 1.0, tmp_path)


def test_the_disk_is_read_and_the_file_is_gone(tmp_path: Path, write: Write) -> None:
    write("proc/self/mountinfo", MOUNTS)
    below = tmp_path / "results"
    below.mkdir()
    told = disk.read_rate(below / "not" / "yet", 0.3, tmp_path, most_bytes=disk._PIECE_BYTES)
    assert told.value is not None
    assert told.value > 0
    assert "on ext4" in str(told.method)
    assert list(below.iterdir()) == []


def test_what_cannot_be_read_around_the_cache_is_dropped_from_it_first(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("proc/self/mountinfo", MOUNTS)
    opened, advised = os.open, []

    def no_direct(path: Any, flags: int, *more: Any) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", no_direct)
    monkeypatch.setattr(os, "posix_fadvise", lambda *call: advised.append(call[3]))
    told = disk.read_rate(tmp_path, 0.01, tmp_path, most_bytes=disk._PIECE_BYTES)
    assert "dropped from the page cache before" in str(told.method)
    assert set(advised) == {os.POSIX_FADV_DONTNEED}


def test_a_disk_that_is_full_is_not_written_to(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("proc/self/mountinfo", MOUNTS)
    monkeypatch.setattr(disk, "_SHARE_OF_FREE", 0.0)
    with pytest.raises(AbsentError, match="less than 32 MiB"):
        disk.read_rate(tmp_path, 0.01, tmp_path)


def test_numa_nodes_have_the_cpus_this_process_may_run_on(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4, 5})
    for node, cpus in enumerate(("0-3", "4-7", "8-11")):
        write(f"sys/devices/system/node/node{node}/cpulist", cpus)
    (tmp_path / "sys/devices/system/node/node3").mkdir()
    (tmp_path / "sys/devices/system/node/node3/cpulist").write_text("\n")  # memory alone, as a GPU's is on Grace
    assert numa_nodes(tmp_path) == {0: {0, 1}, 1: {4, 5}}
    assert [name for one in memory_steps(tmp_path) for name in one.names][2:] == [
        *("memory_numa0_read_bytes_per_s", "memory_numa1_read_bytes_per_s")
    ]


def test_one_numa_node_is_not_told_twice(grace: Path) -> None:
    assert len(memory_steps(grace)) == 2


def test_memory_of_a_node_is_read_by_its_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = min(os.sched_getaffinity(0))
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    bound: list[set[int]] = []

    def noted(*_: Any) -> Any:
        bound.append(os.sched_getaffinity(0))
        raise AbsentError("enough was seen")

    monkeypatch.setattr(host_memory, "load_rate", noted)
    with pytest.raises(AbsentError, match="enough"):
        host_memory._node_read_rate(0, frozenset({cpu}), Path("/"), 1.0)
    assert bound == [{cpu}]
    assert (os.sched_getaffinity(0), torch.get_num_threads()) == (before, threads)


def test_a_stream_is_longer_than_all_last_level_caches(write: Write, tmp_path: Path) -> None:
    for cpu in range(4):
        cache = f"sys/devices/system/cpu/cpu{cpu}/cache"
        for index, (level, shared, size) in enumerate([(1, f"{cpu}", "48K"), (3, "0-1" if cpu < 2 else "2-3", "96M")]):
            write(f"{cache}/index{index}/level", level)
            write(f"{cache}/index{index}/shared_cpu_list", shared)
            write(f"{cache}/index{index}/size", size)
    assert last_level_cache_bytes(tmp_path) == 2 * 96 << 20
    write("proc/meminfo", "MemAvailable: 65536000 kB")
    assert host_memory._stream_bytes(tmp_path, arrays=1) == 8 * 96 << 20


def test_memory_that_is_not_free_is_not_taken(grace: Path) -> None:
    with pytest.raises(AbsentError, match="more than a quarter of the 536,870,912 that are free"):
        host_memory.copy_rate(0.1, grace)


def test_a_list_of_cpus_is_read_as_the_kernel_writes_it() -> None:
    assert cpus_of("0-2,8") == {0, 1, 2, 8}
    with pytest.raises(AbsentError, match="is not a list of CPUs"):
        cpus_of("all")


@pytest.mark.parametrize(("seconds_an_operation", "width"), [(1e-11, 1024), (1e-9, 256), (1.0, 256)])
def test_products_are_as_wide_as_there_is_time_for(
    seconds_an_operation: float, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matmul, "seconds_of", lambda device, work: seconds_an_operation * 2 * 256**3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert matmul._width(torch.float32, 1.0) == width
