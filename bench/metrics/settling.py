"""Where a machine that was cold has become hot: what is measured before is not what it gives for hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Literal

import pyarrow.compute as pc

COLD_S = 600.0
"""Time after which a machine is taken to be hot whose temperature nobody reads: heat sinks and their fans settle within
minutes."""
SETTLED_SHARE, SETTLED_C = 0.1, 2.0
"""A temperature has settled within this share of its rise, and where it did not rise by more than so many degrees it
had before."""


@dataclass(frozen=True)
class Settling:
    cold: int
    """So many of the first stretches were cold."""
    by: Literal["temperature", "time"]
    plateau_c: float | None
    """The temperature it settled at: the median of the last half; None where none was read."""


def settling(temperatures_c: Sequence[float | None], ends_s: Sequence[float]) -> Settling:
    """How many of the first stretches were cold, from each one's mean temperature.

    Where that of one of them is missing it is those that ended, at `ends_s` from the start, within COLD_S.
    """
    told = [temperature for temperature in temperatures_c if temperature is not None]
    if len(told) < len(temperatures_c) or not told:
        return Settling(sum(end_s <= COLD_S for end_s in ends_s), "time", None)
    plateau = median(told[len(told) // 2 :])
    rise = plateau - min(told)
    if rise <= SETTLED_C:
        return Settling(0, "temperature", plateau)
    settled = (i for i, temperature in enumerate(told) if temperature >= plateau - SETTLED_SHARE * rise)
    return Settling(next(settled), "temperature", plateau)


def mean_temperature_c(health: Any, *, start_ns: int, end_ns: int) -> float | None:
    """Mean of what was read between the two times, over the GPUs, or over the processors where no GPU tells.

    `health` is the table of HealthRow. None where nothing was read.
    """
    between = (pc.field("t_ns") >= start_ns) & (pc.field("t_ns") <= end_ns)
    rows = health.filter(between & (pc.field("name") == "temperature_c") & pc.field("value").is_valid())
    by_device: dict[str, list[float]] = {}
    for device, value in zip(rows["device"].to_pylist(), rows["value"].to_pylist(), strict=True):
        by_device.setdefault(device, []).append(value)
    gpus = [values for device, values in by_device.items() if device != "cpu"]
    told = gpus or list(by_device.values())
    return fmean(fmean(values) for values in told) if told else None
