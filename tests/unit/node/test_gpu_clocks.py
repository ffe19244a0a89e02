"""A GPU's clocks right after something was timed on it."""

from __future__ import annotations

from typing import Any

import pynvml

from bench.core.pseudonym import pseudonym
from bench.node.gpu_clocks import gpu_clocks

UNTOLD = dict.fromkeys(("sm_mhz", "memory_mhz", "temperature_c", "power_w", "throttled"))


def id_of(api: Any, index: int) -> str:
    return pseudonym(api.gpus[index]["nvmlDeviceGetUUID"])


def test_clocks_and_what_holds_them_back(h100s: Any) -> None:
    api = h100s(2)
    api.gpus[1]["nvmlDeviceGetTemperatureV"] = 55
    assert gpu_clocks(id_of(api, 1), api) == {
        "sm_mhz": 1980.0,
        "memory_mhz": 1980.0,
        "temperature_c": 55.0,
        "power_w": 310.0,
        "throttled": ("throttle_sw_power_cap",),
    }
    assert api.opened == 0


def test_what_is_not_told_is_none(h100s: Any, no_driver: Any) -> None:
    refused = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    api = h100s(1, nvmlDeviceGetPowerUsage=refused, nvmlDeviceGetCurrentClocksEventReasons=0)
    told = gpu_clocks(id_of(api, 0), api)
    assert (told["power_w"], told["throttled"]) == (None, ())
    assert gpu_clocks("another", api) == UNTOLD
    assert gpu_clocks("any", no_driver) == UNTOLD
