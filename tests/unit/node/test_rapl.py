"""Energy of processors and their memory: counters that wrap or are set to zero, zones that count once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_trees import AMD_SERVER, INTEL_LAPTOP, INTEL_SERVER, POWERCAP, RANGE_UJ, Write, write_zones

from bench.core.records import PowerRow
from bench.core.units import NS_PER_S
from bench.node.facts import AbsentError
from bench.node.rapl import WrappingCounter, memory_sensors, package_sensors, platform_sensors

WAY = pytest.mark.parametrize("open_scope", [package_sensors, memory_sensors, platform_sensors])


@given(
    range_=st.integers(min_value=2, max_value=2**40),
    start=st.integers(min_value=0, max_value=2**40),
    used=st.lists(st.integers(min_value=0, max_value=2**40), max_size=50),
)
def test_a_wrapping_counter_returns_all_that_was_used(range_: int, start: int, used: list[int]) -> None:
    counter = WrappingCounter(range_)
    truth, total = 0, counter.advance(start % range_)
    for amount in used:
        truth += amount % range_  # a whole turn between two readings cannot be seen
        total = counter.advance((start % range_ + truth) % range_)
    assert total == truth


def test_packages_are_read_once_each_and_unwrapped(write: Write, tmp_path: Path) -> None:
    energy = write_zones(write, INTEL_SERVER)
    first, second = package_sensors(tmp_path)
    assert (first.device, second.device) == ("cpu-package-0", "cpu-package-1")
    assert first.source == "RAPL package-0 energy counter"
    energy["0"].write_text("3500000\n")
    assert first.read(0) == [PowerRow(0, "cpu", "cpu-package-0", watts=None, joules_counter=2.5)]
    energy["0"].write_text("500000\n")
    (row,) = first.read(900 * NS_PER_S)
    assert row.joules_counter == pytest.approx((RANGE_UJ - 500_000) / 1e6, rel=1e-12)
    assert first.faults.as_list() == []


def test_memory_is_a_scope_of_its_own(write: Write, tmp_path: Path) -> None:
    energy = write_zones(write, INTEL_SERVER)
    sensors = memory_sensors(tmp_path)
    energy["1:0"].write_text("2000000\n")
    rows = [row for sensor in sensors for row in sensor.read(0)]
    assert [(row.scope, row.device, row.joules_counter) for row in rows] == [
        ("dram", "dram-package-0", 0.0),
        ("dram", "dram-package-1", 1.0),
    ]


def test_amd_has_packages_and_no_memory(write: Write, tmp_path: Path) -> None:
    write_zones(write, AMD_SERVER)
    assert [sensor.device for sensor in package_sensors(tmp_path)] == ["cpu-package-0", "cpu-package-1"]
    with pytest.raises(AbsentError, match="no DRAM zone in package-0, package-1: only Intel's servers"):
        memory_sensors(tmp_path)


def test_memory_of_half_the_packages_is_no_scope(write: Write, tmp_path: Path) -> None:
    write_zones(write, {**INTEL_SERVER, "1:0": "core"})
    with pytest.raises(AbsentError, match="no DRAM zone in package-1"):
        memory_sensors(tmp_path)


def test_the_platform_contains_the_packages_and_is_not_added_to_them(write: Write, tmp_path: Path) -> None:
    write_zones(write, INTEL_LAPTOP)
    assert [sensor.device for sensor in package_sensors(tmp_path)] == ["cpu-package-0"]
    (platform,) = platform_sensors(tmp_path)
    assert (platform.scope, platform.device) == ("psys", "psys")
    write_zones(write, {**INTEL_LAPTOP, "2": "psys-1"})
    with pytest.raises(AbsentError, match="2 zones of the platform"):
        platform_sensors(tmp_path)


@WAY
def test_a_machine_without_rapl(open_scope: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match=r"has no RAPL package: .* virtual machine"):
        open_scope(tmp_path)


def test_a_container_that_hides_the_zones(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / POWERCAP
    folder.mkdir(parents=True)
    (folder / "intel-rapl:0").symlink_to("../../devices/virtual/powercap/intel-rapl/intel-rapl:0")
    with pytest.raises(AbsentError, match="a container or a virtual machine hides it"):
        package_sensors(tmp_path)


@WAY
def test_a_counter_that_only_root_may_read(
    open_scope: Callable[[Path], Any], write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_zones(write, {**INTEL_SERVER, "2": "psys"})
    real_open = Path.open

    def refuse_energy(path: Path, *arguments: Any, **options: Any) -> Any:
        # A mode would not do: tests may run as root, who reads every file.
        if path.name == "energy_uj":
            raise PermissionError
        return real_open(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse_energy)
    with pytest.raises(AbsentError, match=r"energy_uj may not be read: root, CAP_DAC_READ_SEARCH or another file mode"):
        open_scope(tmp_path)


@pytest.mark.parametrize(("file", "text"), [("energy_uj", "unknown"), ("max_energy_range_uj", ""), ("name", "")])
def test_a_zone_that_cannot_be_understood(file: str, text: str, write: Write, tmp_path: Path) -> None:
    write_zones(write, INTEL_SERVER)
    write(f"{POWERCAP}/intel-rapl:1/{file}", text)
    with pytest.raises(AbsentError, match=rf"{file} (holds 'unknown', not a whole number|is empty)"):
        package_sensors(tmp_path)


def test_a_zone_that_falls_silent_is_null_and_told(write: Write, tmp_path: Path) -> None:
    energy = write_zones(write, INTEL_SERVER)
    _, second = package_sensors(tmp_path)
    energy["1"].write_text("")
    (row,) = second.read(7)
    assert (row.watts, row.joules_counter) == (None, None)
    (fault,) = second.faults.as_list()
    assert (fault["code"], fault["first_t_ns"], fault["readings"]) == ("not_read", 7, 1)


def test_a_counter_that_was_set_to_zero_did_not_wrap(write: Write, tmp_path: Path) -> None:
    energy = write_zones(write, INTEL_SERVER, energy_uj=60_000_000_000)
    first, _ = package_sensors(tmp_path)
    readings = []
    for second, microjoules in enumerate((60_000_000_000, 60_200_000_000, 100_000, 300_000_000)):
        energy["0"].write_text(f"{microjoules}\n")
        readings += [row.joules_counter for row in first.read(second * NS_PER_S)]
    assert readings == [0.0, 200.0, None, None]
    assert first.faults.last == "counter_went_back: the energy counter was set to zero, as after a suspend"
