"""How the machine fared over the steady window: clocks, heat, what held clocks back, errors, and who else was there.

Clocks, temperatures and shares of time are those of the window, or of the whole run where there is no steady window.
Errors are counted from the first look to the last, since a fault in the ramp is no less a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from bench.core.records import Headline
from bench.core.spec import LoadSpec
from bench.core.units import seconds_from_ns
from bench.metrics.columns import TurnColumns
from bench.metrics.context import RunContext
from bench.metrics.drift import drifts
from bench.metrics.health_series import NOTHING, Gauge, Series, series_of
from bench.metrics.steady_state import NoWindow, Window
from bench.metrics.throughput import token_slices

OfDevice: TypeAlias = Mapping[str, Series]

THROTTLES = {
    "sw_power_cap": ("throttle_sw_power_cap_s", "violation_power_s"),
    "sync_boost": ("throttle_sync_boost_s",),
    "sw_thermal": ("throttle_sw_thermal_s",),
    "hw_thermal": ("throttle_hw_thermal_s",),
    "thermal_violation": ("violation_thermal_s",),
    "hw_power_brake": ("throttle_hw_power_brake_s",),
    "hw_slowdown": (),
}
"""Why a GPU's clocks are lower than asked, and the counters of seconds that tell it, the better first. Where none is
told the looks `throttle_…` stand for it. A thermal violation is what older drivers count of heat of every kind."""

CLOCK = "sm_clock_mhz"
GPU_GAUGES = ("sm_clock_mhz", "memory_clock_mhz", "temperature_c", "memory_temperature_c", "power_limit_w")
GPU_ERRORS = (
    *("ecc_corrected", "ecc_uncorrected", "remapped_rows_corrected", "remapped_rows_uncorrected"),
    *("pcie_replays", "nvlink_crc_flit_errors", "nvlink_crc_data_errors", "nvlink_replays", "nvlink_recoveries"),
    *("nvlink_link_recoveries", "nvlink_receive_errors"),
)
CPU_CLOCK = "frequency_mean_mhz"
CPU_GAUGES = (CPU_CLOCK, "frequency_min_mhz", "temperature_c", "load_average_1m", "memory_available_bytes")
CPU_PRESSURES = {
    "cpu": "cpu_pressure_s",
    "memory": "memory_pressure_s",
    "memory_for_all": "memory_pressure_full_s",
    "io": "io_pressure_s",
}
CPU_COUNTS = ("own_minor_faults", "own_major_faults", "major_faults")


@dataclass(frozen=True)
class Throttle:
    """How long a reason held clocks back."""

    share: float
    """Of the time."""
    source: Literal["driver", "looks"]
    """Whether the driver counted it all the time, or it was looked at once in a while."""
    found: int | None
    """In how many looks it held; None where the driver counted."""


@dataclass(frozen=True)
class GpuHealth:
    gauges: dict[str, Gauge | None]
    throttled: dict[str, Throttle | None]
    """By reason; None where it was not told."""
    errors: dict[str, float | None]
    """How many there were in the run."""
    last_xid: int | None
    """None where there was none."""
    remapping_pending: bool | None
    """Whether rows wait for a reset to be remapped."""
    remapping_failed: bool | None
    compute_processes: int | None
    """The most that held a context at once."""
    own_compute_processes: int | None
    """The most of them that were this run's."""
    other_compute_processes: int | None
    """The most of them that were not."""
    lost_at_s: float | None
    """When it answered no more, from the run's start; None where it always did."""


@dataclass(frozen=True)
class CpuHealth:
    """Shares of the time of the CPUs that the run might use, unless said otherwise."""

    gauges: dict[str, Gauge | None]
    cpus: int | None
    own_share: float | None
    """What the run's processes took."""
    others_share: float | None
    """What every other process, and the kernel for interrupts, took."""
    steal_share: float | None
    """What the hypervisor kept."""
    idle_share: float | None
    """What nobody took."""
    quota_throttled_share: float | None
    """Share of the periods of a control group's CPU quota in which it held the run back; None without a quota."""
    package_throttle_share: float | None
    """Share of time in which a processor was slowed down for its heat."""
    pressure: dict[str, float | None]
    """Share of time in which something waited for it, and for memory that in which everything did."""
    counts: dict[str, float | None]
    """Within the window."""


@dataclass(frozen=True)
class Health:
    over: Literal["steady window", "run"]
    looks: int
    """Within it."""
    cpu: CpuHealth
    gpus: dict[str, GpuHealth]
    """Those that were looked at: the GPUs the engine used, or every one where it does not say which."""
    drift: dict[str, Headline]
    """Relative change over the window of output tokens/s and of the clocks that made them; none without a window."""


def health_of(
    table: Any, turns: TurnColumns, window: Window | NoWindow, load: LoadSpec, context: RunContext
) -> Health | None:
    """From a health table (`pyarrow.Table`, a row a HealthRow). What a device did not tell is None.

    None for a run that was not watched throughout.
    """
    if context.health is None:
        return None
    devices = series_of(table, start_ns=context.start_ns)
    run = Window(0.0, float(context.end_ns - context.start_ns))
    over = run if isinstance(window, NoWindow) else window
    cpu = devices.get("cpu", {})
    clocks = {f"{name}.{CLOCK}": figures[CLOCK] for name, figures in devices.items() if CLOCK in figures}
    if context.health.computes_on_cpu and CPU_CLOCK in cpu:
        clocks[f"cpu.{CPU_CLOCK}"] = cpu[CPU_CLOCK]
    looks = cpu.get("load_average_1m", NOTHING)
    return Health(
        over="run" if isinstance(window, NoWindow) else "steady window",
        looks=int(over.holds(looks.t).sum()),
        cpu=_cpu(cpu, over),
        gpus={name: _gpu(figures, over) for name, figures in devices.items() if name != "cpu"},
        drift={} if isinstance(window, NoWindow) else drifts(token_slices(turns, window), clocks, window, load),
    )


def _gauges(figures: OfDevice, names: tuple[str, ...], over: Window) -> dict[str, Gauge | None]:
    return {name: figures.get(name, NOTHING).over(over) for name in names}


def _gpu(figures: OfDevice, over: Window) -> GpuHealth:
    def highest(name: str) -> int | None:
        value = figures.get(name, NOTHING).highest
        return None if value is None else int(value)

    def flag(name: str) -> bool | None:
        value = figures.get(name, NOTHING).highest
        return None if value is None else value > 0

    last_xid = figures.get("xid_last", NOTHING).last
    lost_at_ns = figures.get(CLOCK, NOTHING).lost_at_ns
    return GpuHealth(
        gauges=_gauges(figures, GPU_GAUGES, over),
        throttled={reason: _throttle(figures, reason, over) for reason in THROTTLES},
        errors={
            **{name: figures.get(name, NOTHING).total_rise for name in GPU_ERRORS},
            "xid_events": figures.get("xid_events", NOTHING).highest,  # counted from 0 when the run began
        },
        last_xid=int(last_xid) if last_xid else None,
        remapping_pending=flag("remapping_pending"),
        remapping_failed=flag("remapping_failed"),
        compute_processes=highest("compute_processes"),
        own_compute_processes=_own_processes(figures),
        other_compute_processes=highest("other_compute_processes"),
        lost_at_s=None if lost_at_ns is None else seconds_from_ns(lost_at_ns),
    )


def _own_processes(figures: OfDevice) -> int | None:
    processes, others = (figures.get(name, NOTHING) for name in ("compute_processes", "other_compute_processes"))
    if others.highest is None:
        return None
    return int(np.nanmax(processes.value - others.value))


def _throttle(figures: OfDevice, reason: str, over: Window) -> Throttle | None:
    for counter in THROTTLES[reason]:
        share = figures.get(counter, NOTHING).share_of_time(over)
        if share is not None:
            return Throttle(min(share, 1.0), "driver", None)
    looks = figures.get(f"throttle_{reason}", NOTHING)
    held = looks.over(over)
    return None if held is None else Throttle(held.mean, "looks", int((looks.value[over.holds(looks.t)] > 0).sum()))


def _cpu(figures: OfDevice, over: Window) -> CpuHealth:
    cpus = figures.get("counted_cpus", NOTHING).last

    def share(name: str) -> float | None:
        seconds = figures.get(name, NOTHING).share_of_time(over)
        return None if seconds is None or not cpus else seconds / cpus

    busy, own, steal = share("busy_s"), share("own_cpu_s"), share("steal_s")
    return CpuHealth(
        gauges=_gauges(figures, CPU_GAUGES, over),
        cpus=None if cpus is None else int(cpus),
        own_share=own,
        others_share=None if busy is None or own is None else max(0.0, busy - own),
        steal_share=steal,
        idle_share=None if busy is None or steal is None else max(0.0, 1.0 - busy - steal),
        quota_throttled_share=_quota_throttled(figures, over),
        package_throttle_share=figures.get("package_throttle_s", NOTHING).share_of_time(over),
        pressure={what: figures.get(name, NOTHING).share_of_time(over) for what, name in CPU_PRESSURES.items()},
        counts={name: figures.get(name, NOTHING).rise(over) for name in CPU_COUNTS},
    )


def _quota_throttled(figures: OfDevice, over: Window) -> float | None:
    periods = figures.get("quota_periods", NOTHING).rise(over)
    throttled = figures.get("quota_throttled_periods", NOTHING).rise(over)
    return throttled / periods if periods and throttled is not None else None
