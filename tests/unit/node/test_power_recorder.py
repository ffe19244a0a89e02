"""Sampling while a case runs: each sensor at its pace, none held up by another."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from bench.core.clock import RealClock
from bench.core.records import PowerRow
from bench.node.power_recorder import PowerRecorder
from bench.node.sensor_faults import SensorFaults

SECONDS = 20.0


class CountingSensor:
    scope = "node"
    source = "made up"

    def __init__(self, device: str = "meter") -> None:
        self.device = device
        self.faults = SensorFaults()
        self.readings = 0

    def read(self, t_ns: int) -> list[PowerRow]:
        self.readings += 1
        return [PowerRow(t_ns, self.scope, self.device, watts=100.0, joules_counter=float(self.readings))]


class PacedSensor(CountingSensor):
    def __init__(self, interval_s: float, device: str = "controller", lane: str = "network") -> None:
        super().__init__(device)
        self.interval_s = interval_s
        self.lane = lane


class StuckSensor(PacedSensor):
    """Answers at first, and then not before it is told to."""

    def __init__(self) -> None:
        super().__init__(interval_s=0.01)
        self.asked = threading.Event()
        self.answers = threading.Event()

    def read(self, t_ns: int) -> list[PowerRow]:
        if self.readings:
            self.asked.set()
            assert self.answers.wait(SECONDS)
        return super().read(t_ns)


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
    sensors = CountingSensor(), PacedSensor(interval_s=3600)

    async def body() -> None:
        async with asyncio.timeout(SECONDS), PowerRecorder(sensors, RealClock(), lambda rows: None, interval_s=3600):
            await asyncio.sleep(0)

    asyncio.run(body())
    assert [sensor.readings for sensor in sensors] == [2, 2]


def test_a_sensor_with_a_pace_of_its_own_is_read_at_that() -> None:
    quick, slow = CountingSensor(), PacedSensor(interval_s=3600)

    async def body() -> None:
        async with asyncio.timeout(SECONDS), PowerRecorder([slow, quick], RealClock(), lambda rows: None, 0.001):
            while quick.readings < 20:
                await asyncio.sleep(0.001)

    asyncio.run(body())
    assert slow.readings == 2


def test_a_sensor_that_hangs_holds_up_no_other_and_covers_no_more_than_it_read() -> None:
    quick, stuck, firmware = CountingSensor(), StuckSensor(), PacedSensor(0.001, "meter", "firmware")
    rows = list[PowerRow]()

    async def body() -> None:
        async with asyncio.timeout(SECONDS), PowerRecorder([stuck, firmware, quick], RealClock(), rows.extend, 0.001):
            await asyncio.to_thread(stuck.asked.wait, SECONDS)
            for other in (quick, firmware):
                before = other.readings
                while other.readings < before + 20:
                    await asyncio.sleep(0.001)
            assert sum(row.device == "controller" for row in rows) == 1
            stuck.answers.set()

    asyncio.run(body())
    assert stuck.readings >= 3


@pytest.mark.parametrize("answers_at_first", [True, False])
def test_a_sensor_that_hangs_for_good_is_left_behind_and_its_fault_is_told(answers_at_first: bool) -> None:
    stuck, second, quick = StuckSensor(), PacedSensor(0.01, "second"), CountingSensor()
    stuck.readings = 0 if answers_at_first else 1
    rows = list[PowerRow]()
    recorder = PowerRecorder([stuck, second, quick], RealClock(), rows.extend, 0.001, patience_s=0.2)

    async def body() -> None:
        async with asyncio.timeout(SECONDS):
            async with recorder:
                await asyncio.sleep(0)
            told = len(rows)
            stuck.answers.set()
            while second.readings < answers_at_first + 1:
                await asyncio.sleep(0.001)
            assert len(rows) == told

    asyncio.run(body())
    assert quick.readings >= 2
    assert [row.device for row in rows].count("controller") == answers_at_first
    (fault,) = stuck.faults.as_list()
    assert (fault["code"], fault["readings"]) == ("timeout", 1)
    assert (second.faults.last, quick.faults.last) == (None, None)


def test_a_thread_that_hangs_keeps_no_process_from_ending() -> None:
    """As `asyncio.to_thread` would."""
    script = """
import asyncio, threading
from bench.core.daemon_thread import in_daemon_thread

async def main():
    try:
        await asyncio.wait_for(in_daemon_thread(threading.Event().wait), 0.01)
    except TimeoutError:
        print(await in_daemon_thread(lambda: "left behind"))

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert (ended.stdout, ended.stderr) == ("left behind\n", "")


def test_the_others_begin_last_and_end_first_so_that_they_cover_the_run_closely() -> None:
    rows = list[PowerRow]()

    async def body() -> None:
        async with PowerRecorder([CountingSensor(), PacedSensor(3600)], RealClock(), rows.extend, 3600):
            await asyncio.sleep(0)

    asyncio.run(body())
    assert [row.device for row in rows] == ["controller", "meter", "meter", "controller"]


def test_sensors_of_one_lane_and_pace_are_read_one_after_another() -> None:
    paced = [PacedSensor(0.01, "first"), PacedSensor(0.01, "second"), PacedSensor(3600, "third")]
    rows = list[PowerRow]()

    async def body() -> None:
        async with PowerRecorder(paced, RealClock(), rows.extend):
            await asyncio.sleep(0.05)

    asyncio.run(body())
    quick = [row.device for row in rows if row.device != "third"]
    assert quick == ["first", "second"] * (len(quick) // 2)
    assert paced[2].readings == 2


def test_rows_come_in_handfuls_and_on_the_loops_own_thread() -> None:
    handed: list[int] = []

    def take(rows: list[PowerRow]) -> None:
        assert threading.current_thread() is threading.main_thread()
        handed.append(len(rows))

    sensor = CountingSensor()

    async def body() -> None:
        async with PowerRecorder([sensor], RealClock(), take, interval_s=0.001):
            await asyncio.sleep(0.1)

    asyncio.run(body())
    assert sum(handed) == sensor.readings
    assert len(handed) < sensor.readings


def test_without_sensors_nothing_is_sampled() -> None:
    async def body() -> None:
        async with PowerRecorder([], RealClock(), lambda rows: pytest.fail("there is nothing to write")):
            await asyncio.sleep(0)

    asyncio.run(body())


@pytest.mark.parametrize("sensor", [CountingSensor, lambda: PacedSensor(0.001)], ids=["usual", "paced"])
def test_a_table_that_fails_is_told_on_leaving_but_not_over_the_bodys_own_failure(sensor: type[CountingSensor]) -> None:
    async def body(own: Exception | None) -> None:
        seen = list[PowerRow]()

        def fail_later(rows: list[PowerRow]) -> None:
            seen.extend(rows)
            if len(seen) > 1:
                raise OSError("disk full")

        async with PowerRecorder([sensor()], RealClock(), fail_later, interval_s=0.001):
            await asyncio.sleep(0.02)
            if own is not None:
                raise own

    with pytest.raises(OSError, match="disk full"):
        asyncio.run(body(None))
    with pytest.raises(KeyError):
        asyncio.run(body(KeyError("the body's")))


def test_a_sensor_that_cannot_begin_ends_those_that_have() -> None:
    first = PacedSensor(interval_s=3600)

    class Broken(CountingSensor):
        def read(self, t_ns: int) -> list[PowerRow]:
            raise MemoryError("no more threads")

    async def body() -> None:
        async with PowerRecorder([first, Broken()], RealClock(), lambda rows: None):
            pytest.fail("it was entered")

    with pytest.raises(MemoryError):
        asyncio.run(body())
    assert first.readings >= 1
