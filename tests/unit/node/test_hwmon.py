"""Power meters of the firmware: which scope a label means, and which of them may be added."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine_trees import Write, write_grace, write_meter

from bench.core.records import PowerRow
from bench.node.facts import AbsentError
from bench.node.hwmon import meter_sensors


def read(scope: str, root: Path) -> list[tuple[str, float | None]]:
    return [(row.device, row.watts) for sensor in meter_sensors(scope, root) for row in sensor.read(0)]


def test_each_scope_of_grace_is_read_by_its_widest_meter(write: Write, tmp_path: Path) -> None:
    write_grace(write, sockets=2)
    assert read("module", tmp_path) == [("module0", 610.0), ("module1", 610.0)]
    assert read("cpu", tmp_path) == [("grace0", 180.0), ("grace1", 180.0)]
    with pytest.raises(
        AbsentError, match=r"no power meter in .*/sys/class/hwmon measures node, only 'CPU Power Socket 0', "
    ):
        meter_sensors("node", tmp_path)


def test_a_grace_without_a_total_is_read_by_its_cpu_rail(write: Write, tmp_path: Path) -> None:
    write_meter(write, 0, "CPU Power Socket 0", 120.0)
    write_meter(write, 1, "SysIO Power Socket 0", 30.0)
    assert read("cpu", tmp_path) == [("cpu0", 120.0)]
    with pytest.raises(AbsentError, match="measures module"):
        meter_sensors("module", tmp_path)


@pytest.mark.parametrize(
    ("label", "label_file"),
    [
        ("Meter measures total domain", "power1_oem_info"),
        ("total domain", "power1_oem_info"),
        ("System Power", "power1_label"),
        ("Node power", "power1_label"),
    ],
)
@pytest.mark.parametrize("folder", ["", "/device"])
def test_a_meter_of_the_node(label: str, label_file: str, folder: str, write: Write, tmp_path: Path) -> None:
    write_meter(write, 3, label, 431.25, averaged_ms=1000, folder=folder, label_file=label_file)
    (meter,) = meter_sensors("node", tmp_path)
    assert meter.read(5) == [PowerRow(5, "node", "node-meter", watts=431.25, joules_counter=None)]
    assert meter.source == f"hwmon power meter {label!r}, averaged over 1000 ms"


@pytest.mark.parametrize(("averaged_ms", "interval_s"), [(None, 1.0), (50, 0.1), (400, 0.4), (300_000, 1.0)])
def test_it_is_read_about_as_often_as_it_averages(
    averaged_ms: int | None, interval_s: float, write: Write, tmp_path: Path
) -> None:
    write_meter(write, 0, "System Power", 400.0, averaged_ms=averaged_ms)
    (meter,) = meter_sensors("node", tmp_path)
    assert meter.interval_s == interval_s


@pytest.mark.parametrize("label", [None, "", "fan", "Power supply 1", "not the total domain of it"])
def test_a_meter_that_does_not_say_what_it_measures_is_none(label: str | None, write: Write, tmp_path: Path) -> None:
    write_meter(write, 0, label, 400.0)
    for scope in ("node", "cpu", "module"):
        with pytest.raises(AbsentError, match=r"no power meter in .* measures"):
            meter_sensors(scope, tmp_path)


def test_two_meters_of_one_thing_are_none(write: Write, tmp_path: Path) -> None:
    for chip in range(2):
        write_meter(write, chip, "System Power", 400.0)
        write_meter(write, chip + 2, "Grace Power Socket 0", 180.0)
    for scope in ("node", "cpu"):
        with pytest.raises(AbsentError, match=r"2 power meters measure the .*: which counts is not known"):
            meter_sensors(scope, tmp_path)


def test_a_battery_is_no_node(write: Write, tmp_path: Path) -> None:
    write_meter(write, 0, "System Power", 20.0)
    write("sys/class/hwmon/hwmon0/power1_is_battery", 1)
    with pytest.raises(AbsentError, match="no power meter"):
        meter_sensors("node", tmp_path)


@pytest.mark.parametrize(
    ("told", "reason"), [("0", "tells 0, which nothing"), ("-1", "tells -1"), ("n/a", "holds 'n/a'")]
)
def test_a_meter_that_tells_no_power(told: str, reason: str, write: Write, tmp_path: Path) -> None:
    file = write_meter(write, 0, "System Power", 400.0)
    (meter,) = meter_sensors("node", tmp_path)
    file.write_text(f"{told}\n")
    (row,) = meter.read(9)
    assert (row.watts, row.joules_counter) == (None, None)
    assert reason in (meter.faults.last or "")
    with pytest.raises(AbsentError, match=reason):
        meter_sensors("node", tmp_path)
