"""How the processors fare, from made-up machines and from this one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.node.cpu_health import cpu_health
from bench.node.observation import ObservedDevice
from bench.node.process_tree import ProcessTree

Write = Callable[[str, object], Path]
CPU = "sys/devices/system/cpu"


@pytest.fixture
def processors(grace: Path) -> Callable[[], ObservedDevice]:
    """Opens the processors of the made-up machine as it now is."""
    return lambda: cpu_health(ProcessTree(7, grace), grace)


def test_the_hottest_package_is_told_by_the_first_that_knows(
    processors: Callable[[], ObservedDevice], write: Write
) -> None:
    assert processors().read()["temperature_c"] is None
    write("sys/class/thermal/thermal_zone0/type", "acpitz")
    write("sys/class/thermal/thermal_zone0/temp", 41_000)
    assert processors().read()["temperature_c"] == 41.0
    write("sys/class/thermal/thermal_zone1/type", "x86_pkg_temp")
    write("sys/class/thermal/thermal_zone1/temp", 52_000)
    assert processors().read()["temperature_c"] == 52.0
    for number, (name, milli) in enumerate((("nvme", 90_000), ("coretemp", 61_000), ("coretemp", 64_000))):
        write(f"sys/class/hwmon/hwmon{number}/name", name)
        write(f"sys/class/hwmon/hwmon{number}/temp1_input", milli)
    assert processors().read()["temperature_c"] == 64.0


def test_a_package_that_was_too_hot_counts_once_though_every_core_tells_it(
    processors: Callable[[], ObservedDevice], write: Write
) -> None:
    for cpu, milliseconds in enumerate((1500, 1500, 4250, 4250)):  # two packages of two cores
        write(f"{CPU}/cpu{cpu}/thermal_throttle/package_throttle_total_time_ms", milliseconds)
    assert processors().read()["package_throttle_s"] == 4.25


def test_waiting_for_memory_and_for_a_quota_is_told(processors: Callable[[], ObservedDevice], write: Write) -> None:
    write("proc/pressure/memory", "some avg10=1.00 avg60=0.50 total=2500000\nfull avg10=0.00 avg60=0.00 total=500000")
    write("proc/pressure/cpu", "some avg10=1.00 avg60=0.50 avg300=0.1 total=7000000")
    write("proc/pressure/io", "nothing that is known")
    write("sys/fs/cgroup/cpu.max", "150000 100000")
    write("sys/fs/cgroup/cpu.stat", "usage_usec 5\nnr_periods 40\nnr_throttled 10\nthrottled_usec 77")
    device = processors()
    told = device.read()
    assert (told["memory_pressure_s"], told["memory_pressure_full_s"], told["cpu_pressure_s"]) == (2.5, 0.5, 7.0)
    assert (told["quota_periods"], told["quota_throttled_periods"]) == (40.0, 10.0)
    write("sys/fs/cgroup/cpu.pressure", "some avg10=1.00 avg60=0.50 avg300=0.1 total=250000")
    assert processors().read()["cpu_pressure_s"] == 0.25  # of what runs beside the run in its container
    assert told["io_pressure_s"] is None
    assert "io has no such line" in device.missing["io_pressure_s"]


def test_only_the_cpus_the_run_may_use_are_counted(processors: Callable[[], ObservedDevice], write: Write) -> None:
    rows = (f"cpu{cpu} {100 * (cpu + 1)} 0 50 900 0 0 0 {cpu} 0 0" for cpu in range(4))
    write("proc/stat", "cpu  1000 0 200 3600 0 0 0 6 0 0\n" + "\n".join(rows))
    told = processors().read()  # it may run on 0 and 1
    assert (told["busy_s"], told["steal_s"], told["counted_cpus"]) == (4.0, 0.01, 2.0)


def test_a_machine_of_many_cpus_is_asked_for_some_of_their_clocks(
    processors: Callable[[], ObservedDevice], write: Write
) -> None:
    write("proc/self/status", "Name:\tpython\nCpus_allowed_list:\t0-99,110")
    for cpu in range(120):
        write(f"{CPU}/cpu{cpu}/cpufreq/scaling_cur_freq", 3_000_000)
    write(f"{CPU}/cpu4/cpufreq/scaling_cur_freq", 1_000_000)
    told = processors().read()
    assert told["frequency_min_mhz"] == 1000.0
    assert told["frequency_mean_mhz"] == pytest.approx(3000 - 2000 / 26)  # every fourth of 101
    for cpu in range(120):
        write(f"{CPU}/cpu{cpu}/cpufreq/scaling_cur_freq", 0).unlink()
    write("proc/cpuinfo", "\n\n".join(f"processor\t: {cpu}\ncpu MHz\t\t: 2{cpu % 10}00.5" for cpu in range(4000)))
    assert processors().read()["frequency_min_mhz"] == 2000.5


def test_what_is_not_told_is_null_once_with_its_reason_and_then_left_out(
    processors: Callable[[], ObservedDevice], write: Write
) -> None:
    device = processors()
    first, second = device.read(), device.read()
    untold = {name for name, value in first.items() if value is None}
    assert "temperature_c" in untold
    assert set(first) - untold == set(second)
    assert untold <= set(device.missing)
    write("proc/loadavg", "").unlink()
    assert device.read()["load_average_1m"] is None
    assert "loadavg does not exist" in device.missing["load_average_1m"]


def test_what_is_written_in_another_way_costs_the_figure_alone(
    processors: Callable[[], ObservedDevice], write: Write
) -> None:
    write("proc/loadavg", "busy")
    write("proc/vmstat", "pgmajfault many")
    device = processors()
    told = device.read()
    assert (told["load_average_1m"], told["major_faults"]) == (None, None)
    assert told["memory_available_bytes"] is not None
    assert "not told as expected" in device.missing["load_average_1m"]
