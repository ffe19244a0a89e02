"""How the machine fares at one moment: clocks, temperatures, what holds clocks back, who else is busy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pynvml

from bench.core.clock import Clock
from bench.core.records import HealthRow
from bench.node.cpu import memory_bytes
from bench.node.facts import AbsentError, read_int, read_text
from bench.node.nvml import Device, Nvml

THROTTLE_REASONS = {
    "throttle_sw_power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
    "throttle_hw_slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
    "throttle_sync_boost": pynvml.nvmlClocksEventReasonSyncBoost,
    "throttle_sw_thermal": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
    "throttle_hw_thermal": pynvml.nvmlClocksEventReasonHwThermalSlowdown,
    "throttle_hw_power_brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
}
"""Bits of NVML's clocks event reasons that mean slower than asked: idling and clocks the user set are left out."""


def health_rows(clock: Clock, root: Path = Path("/"), api: Any = pynvml) -> list[HealthRow]:
    """One row an observation, of the CPU and of every GPU; the value is None where the machine does not tell."""
    rows = _rows(clock, "cpu", _cpu_observations(root))
    try:
        nvml = Nvml(api)
    except AbsentError:
        return rows
    try:
        for device in nvml.devices():
            rows += _rows(clock, device.name, _gpu_observations(device))
    except AbsentError:
        return rows
    finally:
        nvml.close()
    return rows


def _rows(clock: Clock, device: str, observations: dict[str, Callable[[], float]]) -> list[HealthRow]:
    return [HealthRow(clock.now_ns(), device, name, _value(observe)) for name, observe in observations.items()]


def _value(observe: Callable[[], float]) -> float | None:
    try:
        return float(observe())
    except AbsentError:
        return None


def _cpu_observations(root: Path) -> dict[str, Callable[[], float]]:
    return {
        "frequency_mean_mhz": lambda: fmean(_frequencies_mhz(root)),
        "frequency_min_mhz": lambda: min(_frequencies_mhz(root)),
        "load_average_1m": lambda: float(read_text(root / "proc/loadavg").split()[0]),
        "memory_available_bytes": lambda: memory_bytes(root, "MemAvailable"),
        "steal_s": lambda: _steal_s(root),
    }


def _gpu_observations(device: Device) -> dict[str, Callable[[], float]]:
    def throttled(bit: int) -> Callable[[], float]:
        return lambda: bool(device.ask("nvmlDeviceGetCurrentClocksEventReasons") & bit)

    return {
        "sm_clock_mhz": lambda: device.ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_SM),
        "memory_clock_mhz": lambda: device.ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_MEM),
        "temperature_c": lambda: device.ask("nvmlDeviceGetTemperatureV", pynvml.NVML_TEMPERATURE_GPU),
        "power_limit_w": lambda: device.ask("nvmlDeviceGetEnforcedPowerLimit") / 1000,
        **{name: throttled(bit) for name, bit in THROTTLE_REASONS.items()},
    }


def _frequencies_mhz(root: Path) -> list[float]:
    """Of every CPU: from cpufreq, or from /proc/cpuinfo where a virtual machine has no cpufreq."""
    files = list((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    if files:
        return [read_int(file) / 1000 for file in files]
    lines = read_text(root / "proc/cpuinfo").splitlines()
    told = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    if not told:
        raise AbsentError("the kernel tells no CPU frequency")
    return told


def _steal_s(root: Path) -> float:
    """CPU time since boot that the hypervisor gave to others (proc_stat(5): the eighth figure of `cpu`)."""
    figures = read_text(root / "proc/stat").splitlines()[0].split()
    if len(figures) < 9:
        raise AbsentError("/proc/stat has no steal time")
    return int(figures[8]) / os.sysconf("SC_CLK_TCK")
