"""What somebody set on a GPU that changes its speed and its power: limits, clocks, smoothing and power profiles.

NVML tells no locked clocks (`nvidia-smi --lock-gpu-clocks`): they show as clocks that stay where they are under load.
"""

from __future__ import annotations

from collections.abc import Iterable
from ctypes import byref
from functools import partial
from typing import Any

import pynvml

from bench.node.facts import AbsentError, Facts, all_missing, told
from bench.node.nvml import Device

_CLOCKS = {"sm": pynvml.NVML_CLOCK_SM, "memory": pynvml.NVML_CLOCK_MEM}
_CLOCK_IDS = {
    "application": pynvml.NVML_CLOCK_ID_APP_CLOCK_TARGET,
    "application_default": pynvml.NVML_CLOCK_ID_APP_CLOCK_DEFAULT,
    "customer_max": pynvml.NVML_CLOCK_ID_CUSTOMER_BOOST_MAX,
}
_LIMITS = (
    (pynvml.NVML_FI_DEV_POWER_REQUESTED_LIMIT, pynvml.NVML_POWER_SCOPE_GPU),
    (pynvml.NVML_FI_DEV_POWER_CURRENT_LIMIT, pynvml.NVML_POWER_SCOPE_MODULE),
)
_PRESET = {
    "floor_percent": ("PERCENT_TMP_FLOOR", 1.0),
    "ramp_up_w_per_s": ("RAMP_UP_RATE", 1e-3),
    "ramp_down_w_per_s": ("RAMP_DOWN_RATE", 1e-3),
    "ramp_down_delay_ms": ("RAMP_DOWN_HYST_VAL", 1.0),
}
"""What shapes the floor under a GPU's power: the last part of NVML's field, and its unit in ours."""

_SMOOTHING = ("enabled", "immediate_ramp_down", "active_preset", *_PRESET, *(f"admin_{name}" for name in _PRESET))
_PROFILES = ("requested", "enforced")


def clock_facts(device: Device) -> dict[str, Any]:
    """Clocks as they were set, and the most the maker allows, in MHz."""
    facts = Facts()
    for clock, kind in _CLOCKS.items():
        for name, which in _CLOCK_IDS.items():
            facts.take(f"{clock}_{name}_mhz", partial(_clock, device, kind, which))
    return facts.as_dict()


def power_limit_facts(device: Device) -> dict[str, Any]:
    """Between which limits the power cap may be set, what was asked for last, and a superchip's cap as a whole."""
    facts = Facts()
    facts.take_all(("min_w", "max_w"), lambda: _watts(device.ask("nvmlDeviceGetPowerManagementLimitConstraints")))
    facts.take_all(("requested_w", "module_w"), lambda: _watts(device.fields(_LIMITS)))
    return facts.as_dict()


def smoothing_facts(device: Device) -> dict[str, Any]:
    """Power smoothing (Blackwell): a floor the power is held above by burning what the load does not ask for.

    The preset's figures, and those that an administrator put over them.
    """
    try:
        enabled = _switch(device, "ENABLED")
    except AbsentError as absent:
        return all_missing(_SMOOTHING, str(absent))
    facts = Facts()
    facts.take("enabled", lambda: enabled)
    facts.take("immediate_ramp_down", lambda: _switch(device, "IMM_RAMP_DOWN_ENABLED"))
    active = facts.take("active_preset", lambda: int(_smoothing(device, "ACTIVE_PRESET_PROFILE")))
    for name, (field, unit) in _PRESET.items():
        facts.take(name, partial(_of_preset, device, field, active, unit))
        facts.take(f"admin_{name}", partial(_override, device, field, unit))
    return facts.as_dict()


def power_profile_facts(device: Device) -> dict[str, Any]:
    """Workload power profiles (Blackwell) that were asked for, and those that hold."""
    current = pynvml.c_nvmlWorkloadPowerProfileCurrentProfiles_v1_t()
    try:
        device.ask("nvmlDeviceWorkloadPowerProfileGetCurrentProfiles", byref(current))
    except AbsentError as absent:
        return all_missing(_PROFILES, str(absent))
    names = _profile_names()
    return {
        "requested": _profiles(current.requestedProfilesMask, names),
        "enforced": _profiles(current.enforcedProfilesMask, names),
        "missing": {},
    }


def _watts(milliwatts: Iterable[float | AbsentError]) -> list[float | AbsentError]:
    return [one if isinstance(one, AbsentError) else one / 1000 for one in milliwatts]


def _clock(device: Device, kind: int, which: int) -> int:
    return int(device.ask("nvmlDeviceGetClock", kind, which))


def _smoothing(device: Device, field: str, scope: int = 0) -> float:
    return device.field(getattr(pynvml, f"NVML_FI_PWR_SMOOTHING_{field}"), scope)


def _switch(device: Device, field: str) -> bool:
    value = _smoothing(device, field)
    if value not in (0, 1):
        # Drivers of one branch numbered these fields otherwise, and answer with a counter.
        raise AbsentError(f"power smoothing field {field} says {value:g}, which is neither on nor off")
    return bool(value)


def _of_preset(device: Device, field: str, preset: int | None, unit: float) -> float:
    return _smoothing(device, f"PROFILE_{field}", told(preset, "the active preset is not known")) * unit


def _override(device: Device, field: str, unit: float) -> float:
    value = _smoothing(device, f"ADMIN_OVERRIDE_{field}")
    if value == pynvml.NVML_POWER_SMOOTHING_ADMIN_OVERRIDE_NOT_SET:
        raise AbsentError("no administrator put a figure over the preset's")
    return value * unit


def _profile_names() -> dict[int, str]:
    prefix = "NVML_POWER_PROFILE_"
    listed = {name.removeprefix(prefix): value for name, value in vars(pynvml).items() if name.startswith(prefix)}
    return {
        value: name.lower()
        for name, value in listed.items()
        if name != "MAX" and not name.startswith("OPERATION_")  # a count, and what can be done to profiles
    }


def _profiles(mask: Any, names: dict[int, str]) -> list[str]:
    """The names of the bits set in a mask of eight words of 32 bits."""
    bits = (32 * word + bit for word, value in enumerate(mask.mask) for bit in range(32) if value >> bit & 1)
    return [names.get(bit, f"profile {bit}") for bit in bits]
