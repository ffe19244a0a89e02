"""One line on the clocks and temperatures a case ran at. Its notes tell the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.report.format import value_of


def how_the_machine_fared(record: Mapping[str, Any]) -> Iterator[str]:
    """Of the GPUs in the health section of a record; nothing where there are none, or nothing is told of them."""
    health = record.get("health")
    if health is None:
        return
    told = list(_gpus(health["gpus"]))
    if told:
        yield f"health over the {health['over']}: {'; '.join(told)}"


def _gpus(gpus: Mapping[str, Any]) -> Iterator[str]:
    clocks = [clock for gpu in gpus.values() if (clock := gpu["gauges"]["sm_clock_mhz"]) is not None]
    if clocks:
        low, high = min(clock["min"] for clock in clocks), max(clock["max"] for clock in clocks)
        yield f"SM clock {low:,.0f}{'' if low == high else f' to {high:,.0f}'} MHz"
    maxima = {name: value_of(gpu["gauges"], "temperature_c", "max") for name, gpu in gpus.items()}
    degrees = {name: value for name, value in maxima.items() if value is not None}
    if degrees:
        hottest = max(degrees, key=lambda name: degrees[name])
        which = f" ({hottest})" if len(gpus) > 1 else ""
        yield f"at most {degrees[hottest]:.0f} °C{which}"
