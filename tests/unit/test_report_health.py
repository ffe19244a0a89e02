"""What is said of a machine in one line."""

from __future__ import annotations

from typing import Any

from bench.report.health import how_the_machine_fared


def gpu(low: float, high: float, degrees: float) -> dict[str, Any]:
    return {
        "gauges": {
            "sm_clock_mhz": {"mean": high, "min": low, "max": high},
            "temperature_c": {"mean": degrees, "min": degrees, "max": degrees},
        }
    }


SILENT = {"gauges": {"sm_clock_mhz": None, "temperature_c": None}}


def line(**gpus: dict[str, Any]) -> list[str]:
    return list(how_the_machine_fared({"health": {"over": "steady window", "gpus": gpus}}))


def test_nothing_is_said_where_nothing_is_to_be_told() -> None:
    assert list(how_the_machine_fared({"health": None})) == []
    assert list(how_the_machine_fared({})) == []
    assert line() == line(gpu0=SILENT) == []


def test_the_hottest_of_several_gpus_is_named() -> None:
    assert line(gpu0=gpu(1980, 1980, 61.0), gpu1=gpu(1755, 1980, 74.0), gpu2=SILENT) == [
        "health over the steady window: SM clock 1,755 to 1,980 MHz; at most 74 °C (gpu1)"
    ]
    assert line(gpu0=gpu(1980, 1980, 61.0)) == ["health over the steady window: SM clock 1,980 MHz; at most 61 °C"]
