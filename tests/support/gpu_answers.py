"""What NVML answers of a GPU on an HGX board and of one in a rack of seventy-two, written from its documentation.

A function that fills a structure is answered by one that fills it; bytes are answered where pynvml does not make text
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ctypes import addressof, memmove
from types import SimpleNamespace
from typing import Any

import pynvml

Answers = dict[str, Any]

CHASSIS_SERIAL = b"1821325000042"
CLUSTER = bytes(range(1, 17))
UUID = "GPU-11111111-2222-3333-4444-555555555555"

_DEGRADED = pynvml.NVML_GPU_FABRIC_HEALTH_MASK_DEGRADED_BW_TRUE
_ROUTE_HEALTHY = pynvml.NVML_GPU_FABRIC_HEALTH_MASK_ROUTE_UNHEALTHY_FALSE
_WELL_CONFIGURED = pynvml.NVML_GPU_FABRIC_HEALTH_MASK_INCORRECT_CONFIGURATION_NONE
DEGRADED_FABRIC = (
    _DEGRADED << pynvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_DEGRADED_BW
    | _ROUTE_HEALTHY << pynvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_ROUTE_UNHEALTHY
    | _WELL_CONFIGURED << pynvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_INCORRECT_CONFIGURATION
)


def links(up: Sequence[bool]) -> Callable[[int], int]:
    """The state of each NVLink; a number beyond them is no link."""

    def state(link: int) -> int:
        if link >= len(up):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return int(up[link])

    return state


def filled(**members: int | bytes) -> Callable[[Any], int]:
    """Writes `members` into the structure that is handed over by reference."""

    def fill(reference: Any) -> int:
        structure = reference._obj
        for name, value in members.items():
            member = getattr(type(structure), name)
            raw = value if isinstance(value, bytes) else value.to_bytes(member.size, "little")
            memmove(addressof(structure) + member.offset, raw, len(raw))
        return pynvml.NVML_SUCCESS

    return fill


def fabric(state: int = pynvml.NVML_GPU_FABRIC_STATE_COMPLETED, **members: int | bytes) -> Callable[[Any], int]:
    return filled(state=state, **members)


HGX_H100: Answers = {
    "nvmlDeviceGetBoardPartNumber": "692-2G520-0200-000",
    "nvmlDeviceGetNumGpuCores": 16_896,
    "nvmlDeviceGetMemoryBusWidth": 5120,
    "nvmlDeviceGetGspFirmwareVersion": b"580.82.07",
    "nvmlDeviceGetComputeMode": pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS,
    "nvmlDeviceGetEccMode": [1, 0],
    "nvmlDeviceGetVirtualizationMode": pynvml.NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH,
    "nvmlDeviceGetMaxMigDeviceCount": 7,
    "nvmlDeviceGetMigDeviceHandleByIndex": pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND),
    "nvmlDeviceGetPowerManagementLimitConstraints": [200_000, 700_000],
    "nvmlDeviceGetClock": lambda clock, which: {1: 1_980, 2: 2_619}.get(clock, 0) - 15 * (which == 1),
    "nvmlDeviceGetTemperatureThreshold": lambda threshold: {0: 92, 1: 89, 2: 95, 3: 87}[threshold],
    "nvmlDeviceGetInforomImageVersion": "G520.0200.00.05",
    "nvmlDeviceGetInforomVersion": lambda part: {0: "2.1", 1: "7.16"}.get(part, "1.0"),
    "nvmlDeviceGetRemappedRows": (1, 2, 1, 0),
    "nvmlDeviceGetRowRemapperHistogram": SimpleNamespace(max=2557, high=2, partial=1, low=0, none=0),
    "nvmlDeviceGetRepairStatus": [0, 1],
    "nvmlDeviceGetPciInfo": SimpleNamespace(busId="00000000:38:00.0"),
    "nvmlDeviceGetNumaNodeId": pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED),
    "nvmlDeviceGetAddressingMode": pynvml.NVML_DEVICE_ADDRESSING_MODE_HMM,
    "nvmlDeviceGetNvLinkState": links([True] * 17 + [False]),
    "nvmlDeviceGetNvLinkVersion": pynvml.NVML_NVLINK_VERSION_4_0,
    "nvmlDeviceGetNvLinkRemoteDeviceType": pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH,
    "nvmlDeviceGetGpuFabricInfoV": fabric(),
}

RACK_GB300: Answers = {
    "nvmlDeviceGetName": "NVIDIA GB300",
    "nvmlDeviceGetCudaComputeCapability": (10, 3),
    "nvmlDeviceGetC2cModeInfoV": SimpleNamespace(isC2cEnabled=1),
    "nvmlDeviceGetNumaNodeId": 2,
    "nvmlDeviceGetAddressingMode": pynvml.NVML_DEVICE_ADDRESSING_MODE_ATS,
    "nvmlDeviceGetNvLinkState": links([True] * 18),
    "nvmlDeviceGetNvLinkVersion": pynvml.NVML_NVLINK_VERSION_5_0,
    "nvmlDeviceGetGpuFabricInfoV": fabric(clusterUuid=CLUSTER, cliqueId=32766, healthMask=DEGRADED_FABRIC),
    "nvmlDeviceGetPlatformInfo": filled(
        chassisSerialNumber=CHASSIS_SERIAL, slotNumber=24, trayIndex=200, hostId=1, peerType=1, moduleId=2
    ),
    "nvmlDeviceWorkloadPowerProfileGetCurrentProfiles": filled(
        requestedProfilesMask=(1 << 1).to_bytes(4, "little"),
        enforcedProfilesMask=(1 << 1 | 1 << 40).to_bytes(8, "little"),
    ),
}
RACK_FIELDS = {
    (pynvml.NVML_FI_DEV_C2C_LINK_COUNT, 0): 10,
    (pynvml.NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON, 0): 53_125,
    (pynvml.NVML_FI_DEV_POWER_REQUESTED_LIMIT, pynvml.NVML_POWER_SCOPE_GPU): 1_200_000,
    (pynvml.NVML_FI_DEV_POWER_CURRENT_LIMIT, pynvml.NVML_POWER_SCOPE_MODULE): 2_700_000,
    (pynvml.NVML_FI_PWR_SMOOTHING_ENABLED, 0): 1,
    (pynvml.NVML_FI_PWR_SMOOTHING_IMM_RAMP_DOWN_ENABLED, 0): 0,
    (pynvml.NVML_FI_PWR_SMOOTHING_ACTIVE_PRESET_PROFILE, 0): 2,
    (pynvml.NVML_FI_PWR_SMOOTHING_PROFILE_PERCENT_TMP_FLOOR, 2): 60,
    (pynvml.NVML_FI_PWR_SMOOTHING_PROFILE_RAMP_UP_RATE, 2): 250_000,
    (pynvml.NVML_FI_PWR_SMOOTHING_PROFILE_RAMP_DOWN_RATE, 2): 100_000,
    (pynvml.NVML_FI_PWR_SMOOTHING_PROFILE_RAMP_DOWN_HYST_VAL, 2): 500,
    (pynvml.NVML_FI_PWR_SMOOTHING_ADMIN_OVERRIDE_PERCENT_TMP_FLOOR, 0): 75,
    (pynvml.NVML_FI_PWR_SMOOTHING_ADMIN_OVERRIDE_RAMP_UP_RATE, 0): pynvml.NVML_POWER_SMOOTHING_ADMIN_OVERRIDE_NOT_SET,
}
