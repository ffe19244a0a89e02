"""A made-up x86 server with everything that a fingerprint reads: two sockets, a network card on each, a disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Write = Callable[[str, object], Path]

MAC = "a088c2000001"
GUID = "a088:c203:0012:3456"
SECRETS = (MAC, "a0:88:c2:00:00:01", GUID, "node17.customer.example", "S6CTNA0TB00001", "6b1ac1f4-disk", "PF3AB001")
"""What stands in files beside those that are read, and in names and lines of which only a part may be told."""

_CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8480C
microcode\t: 0x2b000571
flags\t\t: fpu avx2 avx512f amx_tile amx_bf16

processor\t: 1
model name\t: something else"""
_MOUNTS = f"""22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
30 22 0:40 / /mnt/a\\040share rw,relatime - nfs4 node17.customer.example:/models rw,addr=10.0.0.7
31 22 0:41 / /var rw,relatime - tmpfs tmpfs rw
32 22 259:2 /data /var rw,relatime - xfs /dev/disk/by-uuid/{SECRETS[5]} rw"""
_NETWORK_CARD = "sys/devices/pci0000:48/0000:49:00.0"


def write_x86_server(root: Path, write: Write) -> Path:
    """Files and links below `root`, which `write` puts there."""
    _processors(write)
    _kernel(write)
    _limits(write)
    _network(root, write)
    _disk(root, write)
    return root


def _processors(write: Write) -> None:
    write("proc/cpuinfo", _CPUINFO)
    write("sys/devices/system/cpu/online", "0-7")
    write("sys/devices/system/node/online", "0-1")
    for cpu in range(8):
        topology = f"sys/devices/system/cpu/cpu{cpu}/topology"
        write(f"{topology}/physical_package_id", cpu // 2 % 2)
        write(f"{topology}/core_id", cpu % 2)
    for name, value in {
        "scaling_governor": "performance",
        "energy_performance_preference": "performance",
        "scaling_driver": "intel_pstate",
        "cpuinfo_max_freq": 3_800_000,
        "scaling_max_freq": 3_000_000,
    }.items():
        write(f"sys/devices/system/cpu/cpu0/cpufreq/{name}", value)
    write("sys/devices/system/cpu/intel_pstate/no_turbo", 1)
    write("sys/devices/system/cpu/smt/active", 1)
    write("sys/devices/system/cpu/cpuidle/current_driver", "intel_idle")


def _kernel(write: Write) -> None:
    write("proc/sys/kernel/osrelease", "6.8.0-60-generic")
    write("proc/sys/kernel/random/boot_id", "3f0c7b62-1111-2222-3333-444455556666")
    write("proc/sys/kernel/numa_balancing", 0)
    write("proc/cmdline", f"root=UUID={SECRETS[5]} ip=10.0.0.7 iommu=pt mitigations=off quiet -- nosmt")
    write("proc/modules", "nvidia_peermem 16384 0 - Live 0x0\nnvidia 54079488 24 nvidia_peermem, Live 0x0")
    write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release")
    write("etc/os-release", 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 24.04.2 LTS"')
    write("etc/machine-id", "0123456789abcdef0123456789abcdef")
    write("etc/tuned/active_profile", "throughput-performance")
    write("sys/class/iommu/dmar0/name", "dmar0")
    write("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected")
    write("sys/devices/system/cpu/vulnerabilities/spectre_v2", "Vulnerable; IBPB: disabled")
    write("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc")
    write("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm")
    for name, value in {
        "sys_vendor": "Supermicro",
        "product_name": "SYS-821GE-TNHR",
        "board_name": "X13DEG-OAD",
        "bios_version": "2.1",
        "bios_date": "03/04/2025",
        "product_serial": "PF3AB001",
    }.items():
        write(f"sys/class/dmi/id/{name}", value)


def _limits(write: Write) -> None:
    write("proc/meminfo", "MemTotal:       2113548288 kB\nMemAvailable:   2000000000 kB\nSwapTotal:       8388604 kB")
    write("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", 1024)
    write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never")
    write("sys/kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never")
    write("proc/self/status", "Name:\tpython\nCpus_allowed_list:\t0-7\nMems_allowed_list:\t0-1")
    write("proc/self/cgroup", "0::/job")
    write("sys/fs/cgroup/job/pids.max", "4096")
    write(
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max processes             8254923              8254923              processes \n"
        "Max open files            1024                 1048576              files     \n"
        "Max locked memory         unlimited            unlimited            bytes     ",
    )


def _network(root: Path, write: Write) -> None:
    for name, value in {
        "vendor": "0x15b3",
        "device": "0x1021",
        "numa_node": 1,
        "current_link_width": 8,
        "max_link_width": 16,
        "current_link_speed": "16.0 GT/s PCIe",
        "max_link_speed": "32.0 GT/s PCIe",
    }.items():
        write(f"{_NETWORK_CARD}/{name}", value)
    write("sys/module/mlx5_core/version", "24.10-1.1.4")
    _link(root, f"{_NETWORK_CARD}/driver", "sys/bus/pci/drivers/mlx5_core")
    _link(root, "sys/bus/pci/drivers/mlx5_core/module", "sys/module/mlx5_core")
    interface = f"sys/class/net/enx{MAC}"
    for name, value in {"operstate": "up", "speed": 200_000, "mtu": 9000, "address": "a0:88:c2:00:00:01"}.items():
        write(f"{interface}/{name}", value)
    _link(root, f"{interface}/device", _NETWORK_CARD)
    write("sys/class/net/lo/mtu", 65536)
    device = "sys/class/infiniband/mlx5_0"
    for name, value in {
        "hca_type": "MT4129",
        "board_id": "MT_0000000838",
        "fw_ver": "28.43.2026",
        "node_guid": GUID,
        "node_desc": "node17.customer.example HCA-1",
        "ports/1/state": "4: ACTIVE",
        "ports/1/rate": "400 Gb/sec (4X NDR)",
        "ports/1/link_layer": "InfiniBand",
    }.items():
        write(f"{device}/{name}", value)
    _link(root, f"{device}/device", _NETWORK_CARD)


def _disk(root: Path, write: Write) -> None:
    disk = "sys/devices/pci0000:15/0000:16:00.0/nvme/nvme0/nvme0n1"
    for name, value in {
        "size": 7_501_476_528,
        "queue/rotational": 0,
        "queue/scheduler": "[none] mq-deadline",
        "queue/write_cache": "write through",
        "nvme0n1p2/partition": 2,
        "nvme0n1p2/uuid": SECRETS[5],
    }.items():
        write(f"{disk}/{name}", value)
    controller = "sys/devices/pci0000:15/0000:16:00.0/nvme/nvme0"
    for name, value in {
        "model": "SAMSUNG  MZQL23T8HCLS-00A07",
        "firmware_rev": "GDC5902Q",
        "serial": SECRETS[4],
    }.items():
        write(f"{controller}/{name}", value)
    _link(root, f"{disk}/device", controller)
    _link(root, "sys/block/nvme0n1", disk)
    write("sys/block/loop0/size", 8)
    _link(root, "sys/dev/block/259:2", f"{disk}/nvme0n1p2")
    write("proc/self/mountinfo", _MOUNTS)


def _link(root: Path, path: str, target: str) -> None:
    link = root / path
    link.parent.mkdir(parents=True, exist_ok=True)
    (root / target).mkdir(parents=True, exist_ok=True)
    link.symlink_to(root / target)
