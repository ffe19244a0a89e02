"""How a GPU fares: clocks, temperatures, what holds clocks back, errors counted, and whose else it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pynvml

from bench.node.facts import AbsentError
from bench.node.nvml import Device, RefusedError
from bench.node.observation import Observation, ObservedDevice, single
from bench.node.process_tree import ProcessTree
from bench.node.xid import XidWatch

THROTTLE_REASONS = {
    "throttle_sw_power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
    "throttle_hw_slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
    "throttle_sync_boost": pynvml.nvmlClocksEventReasonSyncBoost,
    "throttle_sw_thermal": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
    "throttle_hw_thermal": pynvml.nvmlClocksEventReasonHwThermalSlowdown,
    "throttle_hw_power_brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
}
"""Bits of NVML's clocks event reasons that mean slower than asked: idling and clocks the user set are left out."""

_NS = 1e-9
_FIELDS = {
    "memory_temperature_c": (pynvml.NVML_FI_DEV_MEMORY_TEMP, 1.0),
    "ecc_corrected": (pynvml.NVML_FI_DEV_ECC_SBE_VOL_TOTAL, 1.0),
    "ecc_uncorrected": (pynvml.NVML_FI_DEV_ECC_DBE_VOL_TOTAL, 1.0),
    "remapped_rows_corrected": (pynvml.NVML_FI_DEV_REMAPPED_COR, 1.0),
    "remapped_rows_uncorrected": (pynvml.NVML_FI_DEV_REMAPPED_UNC, 1.0),
    "remapping_pending": (pynvml.NVML_FI_DEV_REMAPPED_PENDING, 1.0),
    "remapping_failed": (pynvml.NVML_FI_DEV_REMAPPED_FAILURE, 1.0),
    "pcie_replays": (pynvml.NVML_FI_DEV_PCIE_REPLAY_COUNTER, 1.0),
    "nvlink_crc_flit_errors": (pynvml.NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL, 1.0),
    "nvlink_crc_data_errors": (pynvml.NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL, 1.0),
    "nvlink_replays": (pynvml.NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL, 1.0),
    "nvlink_recoveries": (pynvml.NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL, 1.0),
    "throttle_sw_power_cap_s": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP, _NS),
    "throttle_sync_boost_s": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SYNC_BOOST, _NS),
    "throttle_sw_thermal_s": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN, _NS),
    "throttle_hw_thermal_s": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN, _NS),
    "throttle_hw_power_brake_s": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN, _NS),
}
"""NVML's field and what makes its unit ours. ECC counts are those since the driver was loaded; the seconds a throttle
reason has held are counted by the driver, between our looks as well."""

_LINK_FIELDS = {
    "nvlink_link_recoveries": pynvml.NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS,
    "nvlink_receive_errors": pynvml.NVML_FI_DEV_NVLINK_COUNT_RCV_ERRORS,
}
"""What Blackwell counts of each link in place of the totals above; its field takes the link for a scope."""

_VIOLATIONS = {
    "violation_power_s": pynvml.NVML_PERF_POLICY_POWER,
    "violation_thermal_s": pynvml.NVML_PERF_POLICY_THERMAL,
}
"""What drivers that do not count each throttle reason count instead."""


def gpu_health(device: Device, tree: ProcessTree, xid: XidWatch) -> ObservedDevice:
    """The GPU `device`, on which `tree` are the processes of this run."""

    def clock(kind: int) -> float:
        return float(device.ask("nvmlDeviceGetClockInfo", kind))

    return ObservedDevice(
        device.name,
        [
            single("sm_clock_mhz", lambda: clock(pynvml.NVML_CLOCK_SM)),
            single("memory_clock_mhz", lambda: clock(pynvml.NVML_CLOCK_MEM)),
            single("temperature_c", lambda: temperature_c(device)),
            single("power_limit_w", lambda: device.ask("nvmlDeviceGetEnforcedPowerLimit") / 1000),
            Observation(tuple(THROTTLE_REASONS), lambda: _throttled(device)),
            Observation(tuple(_FIELDS), lambda: _fields(device)),
            *(single(name, _over_links(device, field)) for name, field in _LINK_FIELDS.items()),
            *(single(name, partial(_violated_s, device, policy)) for name, policy in _VIOLATIONS.items()),
            Observation(("xid_events", "xid_last"), xid.read),
            Observation(("compute_processes", "other_compute_processes"), lambda: _processes(device, tree)),
        ],
    )


def temperature_c(device: Device) -> float:
    """Of the GPU itself. Raises AbsentError where it is not told."""
    try:
        return float(device.ask("nvmlDeviceGetTemperatureV", pynvml.NVML_TEMPERATURE_GPU))
    except RefusedError as refused:
        if refused.code != pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
    return float(device.ask("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU))  # of drivers before it


def _throttled(device: Device) -> Sequence[float]:
    reasons = device.ask("nvmlDeviceGetCurrentClocksEventReasons")
    return [bool(reasons & bit) for bit in THROTTLE_REASONS.values()]


def _fields(device: Device) -> Sequence[float | AbsentError]:
    answers = device.fields([(field, 0) for field, _ in _FIELDS.values()])
    scales = [scale for _, scale in _FIELDS.values()]
    return [
        answer if isinstance(answer, AbsentError) else answer * scale
        for answer, scale in zip(answers, scales, strict=True)
    ]


def _over_links(device: Device, field: int) -> Callable[[], float]:
    """The sum over the links that tell it; those that do not at first are not asked again."""
    links = list(range(pynvml.NVML_NVLINK_MAX_LINKS))

    def read() -> float:
        answers = device.fields([(field, link) for link in links])
        told = [link for link, answer in zip(links, answers, strict=True) if not isinstance(answer, AbsentError)]
        if not told:
            raise AbsentError(f"no link tells NVML field {field}")
        links[:] = told
        return sum(answer for answer in answers if not isinstance(answer, AbsentError))

    return read


def _violated_s(device: Device, policy: int) -> float:
    return float(device.ask("nvmlDeviceGetViolationStatus", policy).violationTime) * _NS


def _processes(device: Device, tree: ProcessTree) -> Sequence[float | AbsentError]:
    """How many hold a compute context here, and how many of them are not this run's."""
    pids = [process.pid for process in device.ask("nvmlDeviceGetComputeRunningProcesses")]
    try:
        return len(pids), tree.others_among(pids)
    except AbsentError as absent:
        return len(pids), absent
