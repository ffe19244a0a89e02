"""The measured figures of a node, a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.report.console import console
from bench.report.format import ABSENT, number
from bench.report.turns import percent

_SCALES = (("_bytes_per_s", 1e-9, "GB/s"), ("_flops_per_s", 1e-12, "TFLOP/s"), ("_s", 1e6, "µs"))
"""End of a figure's name, what its value is multiplied by to be read, and the unit it then has."""


def print_measured(measured: Mapping[str, Any], measurement: Mapping[str, Any]) -> None:
    """Both sections of `bench node show --measure`."""
    out = console()
    others = measurement["others_cpu_share"]
    company = "" if others is None else f", while others took {percent(others)} of the processors' time"
    out.print(f"measured, in {number(measurement['seconds_taken'])} s{company}", markup=False)
    for name, figure in measured.items():
        out.print(f"  {figure_line(name, figure)}", markup=False, soft_wrap=True)
    for failure in measurement["failures"]:
        during = ", ".join(failure["during"]) or "the start"
        out.print(
            f"  {failure['code']} during {during}: {failure['message']}", style="red", markup=False, soft_wrap=True
        )


def figure_line(name: str, figure: Mapping[str, Any]) -> str:
    """The median, between which two values half of the trials lie, and how many these were; or why it is missing."""
    if figure["value"] is None:
        return f"{name}: {ABSENT} ({figure['reason']})"
    value, low, high = (quantity(name, figure[key]) for key in ("value", "low", "high"))
    trials = f"{figure['n']:,} trials" if figure["n"] > 1 else "1 trial"
    return f"{name}: {value} ({low} to {high}, {trials})"


def quantity(name: str, value: float) -> str:
    """A value of the figure `name` in a unit that is read easily."""
    scale, unit = next(((scale, unit) for ending, scale, unit in _SCALES if name.endswith(ending)), (1.0, ""))
    return f"{number(value * scale)} {unit}".rstrip()
