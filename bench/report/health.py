"""One line on how the machine fared while a case ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.report.format import value_of

_TOLD_SHARE = 0.05
"""What others took of the processors and what held a clock back are told from this share of the time on."""


def how_the_machine_fared(record: Mapping[str, Any]) -> Iterator[str]:
    """What the health section of a record comes to; nothing where it has nothing to tell."""
    health = record.get("health")
    if health is None:
        return
    told = [*_gpus(health["gpus"]), *_processors(health["cpu"])]
    if told:
        yield f"health over the {health['over']}: {'; '.join(told)}"


def _gpus(gpus: Mapping[str, Any]) -> Iterator[str]:
    clocks = [clock for gpu in gpus.values() if (clock := gpu["gauges"]["sm_clock_mhz"]) is not None]
    if clocks:
        low, high = min(clock["min"] for clock in clocks), max(clock["max"] for clock in clocks)
        yield f"SM clock {low:,.0f}{'' if low == high else f' to {high:,.0f}'} MHz"
    degrees = {name: value_of(gpu["gauges"], "temperature_c", "max") for name, gpu in gpus.items()}
    if any(value is not None for value in degrees.values()):
        hottest = max(degrees, key=lambda name: degrees[name] or 0.0)
        yield f"at most {degrees[hottest]:.0f} °C{_of(hottest, gpus)}"
    for reason in dict.fromkeys(reason for gpu in gpus.values() for reason in gpu["throttled"]):
        shares = {name: value_of(gpu["throttled"], reason, "share") or 0.0 for name, gpu in gpus.items()}
        most = max(shares, key=lambda name: shares[name])
        if shares[most] >= _TOLD_SHARE:
            yield f"{reason.replace('_', ' ')} {shares[most]:.0%} of the time{_of(most, gpus)}"


def _of(name: str, gpus: Mapping[str, Any]) -> str:
    """Which one it was, where there are several."""
    return f" ({name})" if len(gpus) > 1 else ""


def _processors(cpu: Mapping[str, Any]) -> Iterator[str]:
    others, steal = cpu["others_share"] or 0.0, cpu["steal_share"] or 0.0
    if others + steal >= _TOLD_SHARE:
        yield f"other processes took {others:.0%} of {cpu['cpus']} CPUs, the hypervisor {steal:.0%}"
    throttled = cpu["package_throttle_share"] or 0.0
    if throttled >= _TOLD_SHARE:
        yield f"a processor was slowed down for its heat {throttled:.0%} of the time"
