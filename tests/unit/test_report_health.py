"""What is said of a machine in one line."""

from __future__ import annotations

from typing import Any

from bench.report.health import how_the_machine_fared


def gpu(low: float, high: float, degrees: float, **throttled: float) -> dict[str, Any]:
    return {
        "gauges": {
            "sm_clock_mhz": {"mean": high, "min": low, "max": high},
            "temperature_c": {"mean": degrees, "min": degrees, "max": degrees},
        },
        "throttled": {"hw_thermal": None} | {reason: {"share": share} for reason, share in throttled.items()},
    }


def record(cpu: dict[str, Any] | None = None, **gpus: dict[str, Any]) -> dict[str, Any]:
    quiet = {"others_share": 0.01, "steal_share": None, "cpus": 64, "package_throttle_share": None}
    return {"health": {"over": "steady window", "cpu": quiet | (cpu or {}), "gpus": gpus}}


def test_nothing_is_said_where_nothing_is_to_be_told() -> None:
    assert list(how_the_machine_fared({"health": None})) == []
    assert list(how_the_machine_fared({})) == []
    assert list(how_the_machine_fared(record())) == []


def test_the_worst_of_several_gpus_is_named() -> None:
    told = record(gpu0=gpu(1980, 1980, 61.0), gpu1=gpu(1755, 1980, 74.0, sw_power_cap=0.63, hw_thermal=0.01))
    assert list(how_the_machine_fared(told)) == [
        "health over the steady window: SM clock 1,755 to 1,980 MHz; at most 74 °C (gpu1); "
        "sw power cap 63% of the time (gpu1)"
    ]
    assert list(how_the_machine_fared(record(gpu0=gpu(1980, 1980, 61.0)))) == [
        "health over the steady window: SM clock 1,980 MHz; at most 61 °C"
    ]


def test_a_gpu_that_tells_nothing_breaks_nothing() -> None:
    silent = {"gauges": {"sm_clock_mhz": None, "temperature_c": None}, "throttled": {"hw_thermal": None}}
    assert list(how_the_machine_fared(record(gpu0=silent))) == []


def test_company_and_heat_of_the_processors_are_told() -> None:
    busy = {"others_share": 0.12, "steal_share": 0.03, "package_throttle_share": 0.2}
    assert list(how_the_machine_fared(record(busy))) == [
        "health over the steady window: other processes took 12% of 64 CPUs, the hypervisor 3%; "
        "a processor was slowed down for its heat 20% of the time"
    ]
