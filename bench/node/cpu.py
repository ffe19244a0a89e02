"""The processors of the machine, read from /proc and /sys so that every architecture is told alike."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bench.core.cgroup import cpu_list, quota_cpus
from bench.node.cpu_policy import cpu_policy_facts
from bench.node.facts import AbsentError, Facts, count_cpu_list, merged, read_int, read_text, told
from bench.node.limits import status_line

_ARM_PARTS = {
    ("0x41", "0xd0c"): "Arm Neoverse N1",
    ("0x41", "0xd40"): "Arm Neoverse V1",
    ("0x41", "0xd49"): "Arm Neoverse N2",
    ("0x41", "0xd4f"): "Arm Neoverse V2",
    ("0x41", "0xd84"): "Arm Neoverse V3",
}
"""Arm kernels tell implementer and part (of the Main ID Register) instead of a name; Grace's cores are Neoverse V2."""

_DECISIVE_FLAGS = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimddp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "svebf16", "sme"),
)
"""Instruction sets that decide which matrix kernels a CPU can run."""

_ONE_PROCESSOR = 8192
"""Characters of /proc/cpuinfo that hold the first processor whole."""


def cpu_facts(root: Path = Path("/")) -> dict[str, Any]:
    """Model, topology, what the process may use, and how clocks are governed."""
    facts = Facts()
    cpu = cache(lambda: first_processor(root))
    cores = cache(lambda: _cores(root))
    facts.take("architecture", platform.machine)
    facts.take("model", lambda: _model(cpu()))
    facts.take("sockets", lambda: len({package for package, _ in cores()}))
    facts.take("cores", lambda: len(cores()))
    threads = facts.take("threads", lambda: count_cpu_list(read_text(root / "sys/devices/system/cpu/online")))
    facts.take("affinity_threads", lambda: count_cpu_list(status_line(root, "Cpus_allowed_list")))
    cpuset = facts.take("cpuset_threads", lambda: _cpuset_threads(root))
    quota = facts.take("quota_cpus", lambda: told(quota_cpus(root), "no control group sets a CPU quota"))
    facts.take("node_vcpus", lambda: node_vcpus(threads, cpuset, quota))
    facts.take("flags", lambda: _flags(cpu()))
    facts.take("microcode", lambda: told(cpu().get("microcode"), "/proc/cpuinfo names no microcode"))
    facts.take("numa_nodes", lambda: count_cpu_list(read_text(root / "sys/devices/system/node/online")))
    return merged(facts.as_dict(), cpu_policy_facts(root))


def node_vcpus(threads: int | None, cpuset: int | None, quota: float | None) -> int:
    """The vCPUs of the node as it would be rented.

    A container's CPU set and quota make a smaller node; a process's own affinity (`taskset`) does not, since the rest
    is paid for too. A quota of part of a CPU is rented as a whole one. Raises AbsentError when nothing tells.
    """
    whole_quota = None if quota is None else math.ceil(quota)
    fewest = min((count for count in (threads, cpuset, whole_quota) if count is not None), default=None)
    return told(fewest, "neither the kernel nor a control group tells how many CPUs there are")


def first_processor(root: Path) -> dict[str, str]:
    """What /proc/cpuinfo says of the first processor. Raises AbsentError when it cannot be read."""
    # The file has some 1.5 KB a processor, and the kernel looks up the clock of each that is read.
    first = read_text(root / "proc/cpuinfo", limit=_ONE_PROCESSOR).split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _cpuset_threads(root: Path) -> int:
    return count_cpu_list(told(cpu_list(root), "no control group names its CPUs"))


def _model(fields: Mapping[str, str]) -> str:
    arm = _ARM_PARTS.get((fields.get("CPU implementer", ""), fields.get("CPU part", "")))
    name = fields.get("model name") or fields.get("Model") or arm
    return told(name, "/proc/cpuinfo names no model, and its implementer and part are not known")


def _flags(fields: Mapping[str, str]) -> list[str]:
    flags = told(fields.get("flags") or fields.get("Features"), "/proc/cpuinfo lists no flags").split()
    return [flag for flag in _DECISIVE_FLAGS if flag in flags]


def _cores(root: Path) -> set[tuple[int, int]]:
    """Every physical core as (package, core). Raises AbsentError where the kernel tells no topology."""
    folders = list((root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology"))
    if not folders:
        raise AbsentError("the kernel tells no CPU topology")
    return {(read_int(folder / "physical_package_id"), read_int(folder / "core_id")) for folder in folders}
