"""What reading power costs a run: ten looks a second at eight GPUs, two processors with their memory, a node's meter.

The files are made up and so is the driver; everything from pynvml on is what runs on such a node, the log included. The
aim is 1 % of a core, and no effect on when tokens arrive. The first test prints CPU time over time, and beside it that
of the made-up driver, which says nothing of a real one's. The second prints what gaps between tokens are with the
sampling over what they are without, runs of both in turn. Nothing is asserted.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import uvloop
from driving import CountedPrompts, chain, spec
from machine_trees import INTEL_SERVER, Write, write_meter, write_zones
from nvml_library import NvmlLibrary, nvml_library
from pytest_benchmark.fixture import BenchmarkFixture

from bench.core.clock import RealClock
from bench.core.records import PowerRow, TurnRow
from bench.core.spec import Case, ClosedLoadSpec, MockEngineSpec
from bench.engine.mock import MockEngine
from bench.load.driver import Driver
from bench.node.power import Sensors, open_sensors
from bench.node.power_recorder import PowerRecorder
from bench.results.store import ResultWriter

ROUNDS, SECONDS = 5, 4.0
STREAMS, GAP_MS = 16, 5.0
DRIVER_S = 0.001
"""What a reading takes where the driver has to ask the GPU."""
LOAD = ClosedLoadSpec(kind="closed", concurrency=STREAMS)

Log = Callable[[list[PowerRow]], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(path: str, text: object) -> Path:
        file = tmp_path / "machine" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
        return file

    return put


@pytest.fixture
def driver() -> Iterator[NvmlLibrary]:
    with nvml_library(DRIVER_S) as library:
        yield library


@pytest.fixture
def sensors(write: Write, driver: NvmlLibrary, tmp_path: Path) -> Iterator[Sensors]:
    write_zones(write, INTEL_SERVER)
    write_meter(write, 0, "System Power", 9000.0, averaged_ms=100)
    opened = open_sensors(root=tmp_path / "machine")
    assert len(opened.sensors) == 8 + 8 + 2 + 2 + 1
    yield opened
    opened.close()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    case = Case.of(spec(LOAD), model_digest="m", workload_digest="w")
    return ResultWriter(tmp_path / "runs", case=case, node={}, provenance={}, workload={}).append_power


def cpu_percent(sensors: Sensors, log: Log, driver: NvmlLibrary) -> tuple[float, float]:
    """CPU time over the time while nothing else is done, in percent: ours, and what the made-up driver takes beside."""

    async def main() -> tuple[float, float]:
        async with PowerRecorder(sensors.sensors, RealClock(), log):
            began_s, began_cpu_s, began_driver_s = time.monotonic(), time.process_time(), driver.cpu_s
            await asyncio.sleep(SECONDS)
            driver_s = driver.cpu_s - began_driver_s
            past_s, ours_s = time.monotonic() - began_s, time.process_time() - began_cpu_s - driver_s
            return 100 * ours_s / past_s, 100 * driver_s / past_s

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def gaps_ms(sensors: Sensors | None, log: Log) -> tuple[float, float]:
    """The median and the 99th percentile of the gaps between tokens, with `sensors` read meanwhile or without."""
    rows: list[TurnRow] = []
    sessions = [chain(f"s{i}", 1, output=round(SECONDS * 1000 / GAP_MS)) for i in range(STREAMS)]

    async def main() -> None:
        clock = RealClock()
        engine = MockEngine(MockEngineSpec(kind="mock", ttft_ms=0.0, tpot_ms=GAP_MS), clock=clock)
        async with contextlib.AsyncExitStack() as reading:
            if sensors is not None:
                await reading.enter_async_context(PowerRecorder(sensors.sensors, clock, log))
            await Driver(engine, clock, CountedPrompts(), rows.append, spec(LOAD)).drive(sessions)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    gaps = np.concatenate([row.chunk_t_ns[1:] for row in rows]) / 1e6
    median, late = np.percentile(gaps, [50, 99])
    return float(median), float(late)


def told(name: str, values: list[float], unit: str = "") -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{name}: {middle:.4g}{unit} ({low:.4g} to {high:.4g} in {len(values)} rounds)"


def test_cpu_time_of_sampling(
    benchmark: BenchmarkFixture, sensors: Sensors, driver: NvmlLibrary, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = [cpu_percent(sensors, log, driver) for _ in range(ROUNDS)]
    ours, drivers = (list(of) for of in zip(*shares, strict=True))
    benchmark.extra_info.update(percent_of_a_core=statistics.median(ours), of_the_driver=statistics.median(drivers))
    with capsys.disabled():
        print(f"\n{told('sampling at 10 Hz, of one core', ours, ' %')}\n{told('the made-up driver', drivers, ' %')}")
    # What is timed is one look at everything, the driver's time included.
    benchmark.pedantic(lambda: [list(sensor.read(0)) for sensor in sensors.sensors], rounds=20, warmup_rounds=1)


def test_token_gaps_beside_sampling(
    benchmark: BenchmarkFixture, sensors: Sensors, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    ratios: list[tuple[float, float]] = []

    def pair() -> None:
        order = [sensors, None] if len(ratios) % 2 else [None, sensors]
        gaps = {one is None: gaps_ms(one, log) for one in order}
        ratios.append((gaps[False][0] / gaps[True][0], gaps[False][1] / gaps[True][1]))

    benchmark.pedantic(pair, rounds=ROUNDS, warmup_rounds=1)
    medians, lates = (list(of) for of in zip(*ratios[1:], strict=True))
    benchmark.extra_info.update(p50_ratio=statistics.median(medians), p99_ratio=statistics.median(lates))
    with capsys.disabled():
        print(f"\n{told('gap between tokens with sampling over without, p50', medians)}\n{told('p99', lates)}")
