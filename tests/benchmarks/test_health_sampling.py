"""What watching a machine's health costs a run: a look a second at eight GPUs, this machine's processors and processes
with hundreds of threads.

The driver is made up; everything from pynvml on is what runs on such a node. The aim is 0.3 % of a core. The first
figure printed is the CPU time of a look, which comes once a second, less what making the driver up takes of it. Nothing
is asserted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pynvml
import pytest
from nvml_library import GPUS, NvmlLibrary, nvml_library
from pytest_benchmark.fixture import BenchmarkFixture

from bench.core.clock import RealClock
from bench.node.health import HealthDevices, open_health

THREADS = 200
LOOKS = 50
DRIVER_S = 0.0002
"""What a figure takes that the driver has at hand; some ten are asked of each GPU."""


class TalkativeLibrary(NvmlLibrary):
    """Supports everything, and tells 0 of all that has no answer of its own."""

    def nvmlEventSetWait_v2(self, *_: object) -> int:  # noqa: N802
        return pynvml.NVML_ERROR_TIMEOUT

    def __getattr__(self, function: str) -> Callable[..., int]:
        def answer(*_: object) -> int:
            began_s = time.thread_time()
            time.sleep(self.call_s)
            self.cpu_s += time.thread_time() - began_s
            return pynvml.NVML_SUCCESS

        return answer


@pytest.fixture
def devices() -> Iterator[tuple[HealthDevices, NvmlLibrary]]:
    """Opened, and looked at once, so that only what is told is asked again; and their driver."""
    ended = threading.Event()
    threads = [threading.Thread(target=ended.wait) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        with nvml_library(DRIVER_S, TalkativeLibrary) as driver:
            opened = open_health()
            told = {row.device for row in opened.read(RealClock()) if row.value is not None}
            assert len(told) == GPUS + 1
            yield opened, driver
            opened.close()
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_cpu_time_of_a_look(
    benchmark: BenchmarkFixture, devices: tuple[HealthDevices, NvmlLibrary], capsys: pytest.CaptureFixture[str]
) -> None:
    opened, driver = devices
    began_s, began_driver_s = time.process_time(), driver.cpu_s
    for _ in range(LOOKS):
        opened.read(RealClock())
    cpu_s = time.process_time() - began_s - (driver.cpu_s - began_driver_s)
    cpu_ms = cpu_s / LOOKS * 1000
    benchmark.extra_info["cpu_ms_a_look"] = cpu_ms
    with capsys.disabled():
        print(f"\na look at {GPUS} GPUs and {THREADS} threads: {cpu_ms:.3g} ms of CPU, {cpu_ms / 10:.2g} % of a core")
    benchmark.pedantic(lambda: opened.read(RealClock()), rounds=20, warmup_rounds=1)
