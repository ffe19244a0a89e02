"""Energy: counters that wrap, scopes that are whole or missing, and the recorder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.clock import RealClock
from bench.core.power_spec import DeclaredPower
from bench.core.records import PowerRow
from bench.node.power import PowerRecorder, open_sensors
from bench.node.rapl import WrappingCounter

RANGE_UJ = 262_143_328_850
"""`max_energy_range_uj` of a server package with a unit of 61 microjoules."""


@pytest.fixture
def packages(write: Callable[[str, object], Path], tmp_path: Path) -> list[Path]:
    """Energy files of two packages, beside zones that must not be counted with them."""
    zones = {"0": "package-0", "0:0": "dram", "1": "package-1", "2": "psys"}
    for number, name in zones.items():
        folder = f"sys/class/powercap/intel-rapl:{number}"
        write(f"{folder}/name", name)
        write(f"{folder}/max_energy_range_uj", RANGE_UJ)
        write(f"{folder}/energy_uj", 1_000_000)
    return [tmp_path / f"sys/class/powercap/intel-rapl:{number}/energy_uj" for number in ("0", "1")]


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


def test_packages_are_read_once_each_and_unwrapped(packages: list[Path], tmp_path: Path, no_driver: object) -> None:
    opened = open_sensors(root=tmp_path, api=no_driver)
    assert [sensor.device for sensor in opened.sensors] == ["cpu-package-0", "cpu-package-1"]
    first = opened.sensors[0]
    packages[0].write_text("3500000\n")
    assert list(first.read(7)) == [PowerRow(7, "cpu", "cpu-package-0", watts=None, joules_counter=2.5)]
    packages[0].write_text("500000\n")
    (row,) = first.read(8)
    assert row.joules_counter == pytest.approx((RANGE_UJ - 500_000) / 1e6, rel=1e-12)


def test_a_package_that_vanishes_is_null_with_a_reason(packages: list[Path], tmp_path: Path, no_driver: object) -> None:
    opened = open_sensors(root=tmp_path, api=no_driver)
    packages[1].unlink()
    (row,) = opened.sensors[1].read(1)
    assert row.joules_counter is None
    assert list(opened.problems) == ["cpu-package-1"]


def test_an_unreadable_package_says_what_would_allow_it(
    packages: list[Path], tmp_path: Path, no_driver: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_text = Path.read_text

    def refuse_root_only_file(path: Path, *arguments: Any, **options: Any) -> str:
        # A mode would not do: tests may run as root, who reads every file.
        if path == packages[1]:
            raise PermissionError
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refuse_root_only_file)
    opened = open_sensors(root=tmp_path, api=no_driver)
    assert opened.sensors == ()
    assert "CAP_DAC_READ_SEARCH" in opened.missing["cpu"]


def test_a_counter_that_is_no_number_makes_the_scope_missing(
    packages: list[Path], tmp_path: Path, no_driver: object
) -> None:
    packages[0].write_text("unknown\n")
    opened = open_sensors(root=tmp_path, api=no_driver)
    assert opened.sensors == ()
    assert "not a whole number" in opened.missing["cpu"]


def test_a_machine_without_sensors_has_a_reason_for_every_scope(tmp_path: Path, no_driver: object) -> None:
    opened = open_sensors(root=tmp_path, api=no_driver)
    assert opened.sensors == ()
    assert set(opened.missing) == {"gpu", "memory", "module", "cpu", "node", "rack", "facility"}
    assert all(opened.missing.values())
    opened.close()


def test_declared_watts_are_no_sensor(tmp_path: Path, no_driver: object) -> None:
    opened = open_sensors(DeclaredPower(scope="node", watts=180), root=tmp_path, api=no_driver)
    assert opened.sensors == ()
    assert "180 W is declared" in opened.missing["node"]
    assert "assumed" in opened.missing["node"]


class CountingSensor:
    scope = "node"

    def __init__(self) -> None:
        self.readings = 0

    def read(self, t_ns: int) -> list[PowerRow]:
        self.readings += 1
        return [PowerRow(t_ns, self.scope, "meter", watts=100.0, joules_counter=float(self.readings))]


def test_the_recorder_covers_its_body_from_before_to_after() -> None:
    clock, rows = RealClock(), list[PowerRow]()

    async def body() -> tuple[int, int]:
        async with PowerRecorder([CountingSensor()], clock, rows.extend, interval_s=0.01):
            start_ns = clock.now_ns()
            await asyncio.sleep(0.05)
            end_ns = clock.now_ns()
        return start_ns, end_ns

    start_ns, end_ns = asyncio.run(body())
    times = [row.t_ns for row in rows]
    assert times == sorted(times)
    assert times[0] <= start_ns
    assert times[-1] >= end_ns
    assert len(rows) >= 3
    assert [row.joules_counter for row in rows] == [float(n + 1) for n in range(len(rows))]


def test_leaving_does_not_wait_for_the_next_sample() -> None:
    sensor = CountingSensor()

    async def body() -> None:
        async with asyncio.timeout(5), PowerRecorder([sensor], RealClock(), lambda rows: None, interval_s=3600):
            await asyncio.sleep(0)

    asyncio.run(body())
    assert sensor.readings == 2


def test_without_sensors_nothing_is_sampled() -> None:
    async def body() -> None:
        async with PowerRecorder([], RealClock(), lambda rows: pytest.fail("there is nothing to write")):
            await asyncio.sleep(0)

    asyncio.run(body())


def test_a_table_that_fails_is_told_on_leaving_but_not_over_the_bodys_own_failure() -> None:
    async def body(own: Exception | None) -> None:
        seen = list[PowerRow]()

        def fail_later(rows: list[PowerRow]) -> None:
            seen.extend(rows)
            if len(seen) > 1:
                raise OSError("disk full")

        async with PowerRecorder([CountingSensor()], RealClock(), fail_later, interval_s=0.001):
            await asyncio.sleep(0.02)
            if own is not None:
                raise own

    with pytest.raises(OSError, match="disk full"):
        asyncio.run(body(None))
    with pytest.raises(KeyError):
        asyncio.run(body(KeyError("the body's")))
