"""How hot the devices of a run were, from its health table."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import pyarrow.compute as pc

_NAME = "temperature_c"


def mean_temperature_c(health: Any, *, start_ns: int, end_ns: int) -> float | None:
    """Mean of what was read between the two times, over the GPUs, or over the processors where no GPU tells.

    `health` is the table of HealthRow. None where nothing was read.
    """
    between = (pc.field("t_ns") >= start_ns) & (pc.field("t_ns") <= end_ns)
    rows = health.filter(between & (pc.field("name") == _NAME) & pc.field("value").is_valid())
    by_device: dict[str, list[float]] = {}
    for device, value in zip(rows["device"].to_pylist(), rows["value"].to_pylist(), strict=True):
        by_device.setdefault(device, []).append(value)
    gpus = [values for device, values in by_device.items() if device != "cpu"]
    told = gpus or list(by_device.values())
    return fmean(fmean(values) for values in told) if told else None
