"""How the processors fare: clocks, temperature, load, memory, what the run waits for, and who else takes their time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from bench.core.cgroup import cpu_pressure_file, quota_periods
from bench.node.facts import AbsentError, read_int, read_text, told
from bench.node.observation import Observation, ObservedDevice, single
from bench.node.process_tree import ProcessTree

_BUSY = (0, 1, 2, 5, 6)
"""User, nice, system, irq and softirq among the figures of a CPU (proc_stat(5)); a guest's time is in user's."""
_STEAL = 7
_MOST_CLOCKS = 32
"""CPUs whose clock is looked at, spread over those that may be used: each asks the hardware anew."""
_CPUINFO_BYTES = 1 << 16
"""The kernel writes /proc/cpuinfo as it is read, so a machine of hundreds of CPUs is asked for some forty of them."""
_TEMPERATURE_DRIVERS = ("coretemp", "k10temp", "zenpower")
"""Drivers of Intel's and AMD's processors; the first figure of each is that of the package."""
_TEMPERATURE_ZONES = ("x86_pkg_temp", "cpu", "acpitz")
"""Beginnings of the names of thermal zones, the better first: Arm servers tell their processors' through ACPI."""


def cpu_health(tree: ProcessTree, root: Path = Path("/")) -> ObservedDevice:
    """The machine's processors. `busy_s`, `steal_s` and `counted_cpus` are of those that this process may run on."""
    cpus = allowed_cpus(root)
    return ObservedDevice(
        "cpu",
        [
            Observation(("frequency_mean_mhz", "frequency_min_mhz"), _frequencies(root, cpus)),
            single("temperature_c", _temperature(root)),
            single("package_throttle_s", _package_throttle(root)),
            single("load_average_1m", lambda: float(read_text(root / "proc/loadavg").split()[0])),
            single("memory_available_bytes", lambda: 1024 * _figure(root / "proc/meminfo", "MemAvailable:")),
            single("major_faults", lambda: _figure(root / "proc/vmstat", "pgmajfault")),
            Observation(("busy_s", "steal_s", "counted_cpus"), lambda: cpu_times(root, cpus)),
            Observation(("quota_periods", "quota_throttled_periods"), lambda: _quota_periods(root)),
            *(Observation(names, _pressure(root, what, len(names))) for what, names in _PRESSURE.items()),
            Observation(("own_cpu_s", "own_minor_faults", "own_major_faults"), lambda: _own(tree)),
        ],
    )


_PRESSURE = {
    "cpu": ("cpu_pressure_s",),
    "memory": ("memory_pressure_s", "memory_pressure_full_s"),
    "io": ("io_pressure_s",),
}
"""Seconds since boot in which something waited for it, and for memory those in which everything did. For a CPU it is
something of the run's control group where those are told apart: on a large machine that is shared, something always
waits."""


def _own(tree: ProcessTree) -> Sequence[float]:
    usage = tree.usage()
    return usage.cpu_s, usage.minor_faults, usage.major_faults


def _frequencies(root: Path, cpus: frozenset[int]) -> Callable[[], Sequence[float]]:
    """From cpufreq, or from /proc/cpuinfo where a virtual machine has no cpufreq."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    present = {int(file.parts[-3].removeprefix("cpu")): file for file in files}
    usable = [present[cpu] for cpu in sorted(present.keys() & cpus or present)]
    chosen = usable[:: math.ceil(len(usable) / _MOST_CLOCKS) or 1]

    def read() -> Sequence[float]:
        mhz = [read_int(file) / 1000 for file in chosen] if chosen else _told_by_cpuinfo(root)
        if not mhz:
            raise AbsentError("the kernel tells no CPU frequency")
        return fmean(mhz), min(mhz)

    return read


def _told_by_cpuinfo(root: Path) -> list[float]:
    path = root / "proc/cpuinfo"
    try:
        with path.open("rb") as file:
            lines = file.read(_CPUINFO_BYTES).splitlines()[:-1]  # the last may be cut
    except OSError as error:
        raise AbsentError(f"{path} cannot be read: {error.strerror}") from error
    return [float(line.partition(b":")[2]) for line in lines if line.startswith(b"cpu MHz")]


def _temperature(root: Path) -> Callable[[], float]:
    """The hottest package, in °C."""
    files = _temperature_files(root)

    def read() -> float:
        if not files:
            raise AbsentError("no driver tells the processors' temperature")
        return max(read_int(file) for file in files) / 1000

    return read


def _temperature_files(root: Path) -> list[Path]:
    drivers = [folder for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")) if _is_cpu_driver(folder)]
    if drivers:
        return [folder / "temp1_input" for folder in drivers]
    zones = {folder: _name(folder / "type") for folder in sorted((root / "sys/class/thermal").glob("thermal_zone*"))}
    for wanted in _TEMPERATURE_ZONES:
        if found := [folder / "temp" for folder, name in zones.items() if name.startswith(wanted)]:
            return found
    return []


def _is_cpu_driver(folder: Path) -> bool:
    return _name(folder / "name") in _TEMPERATURE_DRIVERS


def _name(path: Path) -> str:
    try:
        return read_text(path)
    except AbsentError:
        return ""


def _package_throttle(root: Path) -> Callable[[], float]:
    """Seconds since boot that a package was slowed down for its heat; of the one that was longest."""
    of_package: dict[str, Path] = {}
    for folder in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle")):
        package = _name(folder.parent / "topology/physical_package_id")
        of_package.setdefault(package, folder / "package_throttle_total_time_ms")

    def read() -> float:
        if not of_package:
            raise AbsentError("the kernel does not count when a processor is slowed down for its heat")
        return max(read_int(file) for file in of_package.values()) / 1000

    return read


def allowed_cpus(root: Path) -> frozenset[int]:
    """Those that this process may run on; empty where the kernel does not tell."""
    try:
        status = read_text(root / "proc/self/status").splitlines()
        (text,) = (line.partition(":")[2].strip() for line in status if line.startswith("Cpus_allowed_list:"))
        ranges = [[int(end) for end in part.split("-")] for part in text.split(",")]
    except (AbsentError, ValueError):
        return frozenset()
    return frozenset(cpu for ends in ranges for cpu in range(ends[0], ends[-1] + 1))


def cpu_times(root: Path, cpus: frozenset[int]) -> tuple[float, float, int | AbsentError]:
    """Seconds since boot that the allowed CPUs were busy and that the hypervisor kept from them, and how many they are.

    All CPUs together where the kernel does not tell them apart. Raises AbsentError where it tells too little.
    """
    names = {f"cpu{cpu}" for cpu in cpus}
    rows = [line.split() for line in read_text(root / "proc/stat").splitlines() if line.startswith("cpu")]
    counted = [row for row in rows if row[0] in names]
    each = counted or rows[:1]
    if not each or any(len(row) <= 1 + _STEAL for row in each):
        raise AbsentError("/proc/stat has no steal time")
    ticks = os.sysconf("SC_CLK_TCK")
    busy = sum(int(row[1 + column]) for row in each for column in _BUSY)
    steal = sum(int(row[1 + _STEAL]) for row in each)
    cpu_count = len(counted) or len(rows) - 1 or AbsentError("/proc/stat tells no CPU by itself")
    return busy / ticks, steal / ticks, cpu_count


def _quota_periods(root: Path) -> Sequence[float]:
    return told(quota_periods(root), "no control group sets a CPU quota")


def _pressure(root: Path, what: str, figures: int) -> Callable[[], Sequence[float | AbsentError]]:
    """Seconds in which something waited, then those in which everything did (Documentation/accounting/psi.rst)."""
    path = (cpu_pressure_file(root) if what == "cpu" else None) or root / "proc/pressure" / what

    def read() -> Sequence[float | AbsentError]:
        lines = {line.partition(" ")[0]: line for line in read_text(path).splitlines()}
        return [_stalled_s(lines.get(kind), path) for kind in ("some", "full")[:figures]]

    return read


def _stalled_s(line: str | None, path: Path) -> float | AbsentError:
    microseconds = (line or "").rpartition("total=")[2]
    return int(microseconds) / 1e6 if microseconds.isdigit() else AbsentError(f"{path} has no such line")


def _figure(path: Path, name: str) -> int:
    """The number behind a name at the beginning of a line."""
    for line in read_text(path).splitlines():
        key, *values = line.split()
        if key == name and values:
            return int(values[0])
    raise AbsentError(f"{path} has no {name.rstrip(':')}")
