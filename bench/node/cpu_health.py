"""How the processors fare: clocks, load, memory, and who else takes their time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

from bench.node.cpu import memory_bytes
from bench.node.facts import AbsentError, read_int, read_text
from bench.node.observation import Observation, ObservedDevice, single
from bench.node.process_tree import ProcessTree

_BUSY = (0, 1, 2, 5, 6)
"""User, nice, system, irq and softirq among the figures of a CPU (proc_stat(5)); a guest's time is in user's."""
_STEAL = 7


def cpu_health(tree: ProcessTree, root: Path = Path("/")) -> ObservedDevice:
    """The machine's processors. `busy_s`, `steal_s` and `counted_cpus` are of those that this process may run on."""
    cpus = _allowed_cpus(root)
    return ObservedDevice(
        "cpu",
        [
            Observation(("frequency_mean_mhz", "frequency_min_mhz"), _frequencies(root)),
            single("load_average_1m", lambda: float(read_text(root / "proc/loadavg").split()[0])),
            single("memory_available_bytes", lambda: memory_bytes(root, "MemAvailable")),
            single("major_faults", lambda: _major_faults(root)),
            Observation(("busy_s", "steal_s", "counted_cpus"), lambda: _cpu_times(root, cpus)),
            single("own_cpu_s", tree.cpu_s),
        ],
    )


def _frequencies(root: Path) -> Callable[[], Sequence[float]]:
    """Of every CPU: from cpufreq, or from /proc/cpuinfo where a virtual machine has no cpufreq."""
    files = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))

    def read() -> Sequence[float]:
        told = [read_int(file) / 1000 for file in files] if files else list(_told_by_cpuinfo(root))
        if not told:
            raise AbsentError("the kernel tells no CPU frequency")
        return fmean(told), min(told)

    return read


def _told_by_cpuinfo(root: Path) -> Iterator[float]:
    for line in read_text(root / "proc/cpuinfo").splitlines():
        if line.startswith("cpu MHz"):
            yield float(line.partition(":")[2])


def _allowed_cpus(root: Path) -> frozenset[str]:
    """As /proc/stat names them; none where the process's affinity is not told."""
    try:
        status = read_text(root / "proc/self/status").splitlines()
        (text,) = (line.partition(":")[2].strip() for line in status if line.startswith("Cpus_allowed_list:"))
        ranges = [[int(end) for end in part.split("-")] for part in text.split(",")]
    except (AbsentError, ValueError):
        return frozenset()
    return frozenset(f"cpu{number}" for ends in ranges for number in range(ends[0], ends[-1] + 1))


def _cpu_times(root: Path, cpus: frozenset[str]) -> Sequence[float | AbsentError]:
    """Seconds since boot that the allowed CPUs were busy and that the hypervisor kept from them, and how many they are.

    All CPUs together where the kernel does not tell them apart.
    """
    rows = [line.split() for line in read_text(root / "proc/stat").splitlines() if line.startswith("cpu")]
    counted = [row for row in rows if row[0] in cpus]
    each = counted or rows[:1]
    if not each or any(len(row) <= 1 + _STEAL for row in each):
        raise AbsentError("/proc/stat has no steal time")
    ticks = os.sysconf("SC_CLK_TCK")
    busy = sum(int(row[1 + column]) for row in each for column in _BUSY)
    steal = sum(int(row[1 + _STEAL]) for row in each)
    cpu_count = len(counted) or len(rows) - 1 or AbsentError("/proc/stat tells no CPU by itself")
    return busy / ticks, steal / ticks, cpu_count


def _major_faults(root: Path) -> float:
    """Pages since boot that had to come from a disk, of every process."""
    for line in read_text(root / "proc/vmstat").splitlines():
        name, _, value = line.partition(" ")
        if name == "pgmajfault":
            return int(value)
    raise AbsentError("/proc/vmstat has no pgmajfault")
