"""A run beside GPUs that go wrong in its middle: the driver's C functions are made up, the rest is what always runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import yaml
from mock_serving import serving
from nvml_library import GPUS, NvmlLibrary, nvml_library

from bench.engine.mock_server.settings import MockServerSettings

MOCK = MockServerSettings(ttft_ms=10, gap_ms=4)
XID = 79
"""The GPU has fallen off the bus."""


class TroubledLibrary(NvmlLibrary):
    """From the second look on every GPU reports an event, and no longer tells its clock; two processes are on each."""

    def __init__(self, call_s: float) -> None:
        super().__init__(call_s)
        self._asked_for_events = 0

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: Any, mhz: Any) -> int:  # noqa: N802
        if self._asked_for_events > GPUS:
            return int(pynvml.NVML_ERROR_GPU_IS_LOST)
        mhz._obj.value = 1980
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetFieldValues(self, handle: Any, count: Any, values: Any) -> int:  # noqa: N802
        return int(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def nvmlEventSetCreate(self, events: Any) -> int:  # noqa: N802
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceRegisterEvents(self, handle: Any, kinds: Any, events: Any) -> int:  # noqa: N802
        return int(pynvml.NVML_SUCCESS)

    def nvmlEventSetFree(self, events: Any) -> int:  # noqa: N802
        return int(pynvml.NVML_SUCCESS)

    def nvmlEventSetWait_v2(self, events: Any, data: Any, milliseconds: Any) -> int:  # noqa: N802
        self._asked_for_events += 1
        second_look = GPUS < self._asked_for_events <= 3 * GPUS  # each GPU is asked until it has no more
        if not second_look or self._asked_for_events % 2 == 0:
            return int(pynvml.NVML_ERROR_TIMEOUT)
        data._obj.eventData = XID
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Any, count: Any, processes: Any) -> int:  # noqa: N802
        count._obj.value = 2
        if processes is None:
            return int(pynvml.NVML_ERROR_INSUFFICIENT_SIZE)
        processes[0].pid, processes[1].pid = os.getpid(), 1
        return int(pynvml.NVML_SUCCESS)


def test_faults_company_and_events_reach_the_verdict(bench: Callable[..., Any], tmp_path: Path) -> None:
    suite = tmp_path / "asked.yaml"
    with serving(MOCK) as url, nvml_library(library=TroubledLibrary):
        spec = {
            "name": "asked",
            "model": {"path": "tiny"},
            "engine": {"kind": "endpoint", "base_url": url},
            "workload": {"kind": "reasoning", "sessions": 12, "length_mode": "free", "token_scale": 0.02},
            "load": {"kind": "closed", "concurrency": 2, "time_scale": 0},
            "measure": {"percentiles": [0.5], "warmup_sessions": 0},
        }
        suite.write_text(yaml.safe_dump({"suite": "asked", "specs": [spec]}))
        ran = bench("run", suite, "--out", tmp_path / "runs", "--json")
        assert ran.code == 1, ran.err
        shown = bench("compare", tmp_path / "runs").out
    (record,) = ran.json["records"]
    codes = [reason["code"] for reason in record["verdict"]["reasons"]]  # a busy machine may add some of its own
    assert (codes.count("hardware_error"), codes.count("not_alone")) == (2 * GPUS, GPUS)
    for gpu in record["health"]["gpus"].values():
        assert (gpu["errors"]["xid_events"], gpu["last_xid"]) == (1, XID)
        assert (gpu["own_compute_processes"], gpu["other_compute_processes"]) == (1, 1)
        assert gpu["lost_at_s"] >= 0
    assert record["requests"]["completed"] == record["requests"]["sent"] > 0  # the run went on
    assert "GPU is lost" in record["node"]["health"]["missing"]["gpu3"]["sm_clock_mhz"]
    assert "number 79" in shown
    assert bench("verify", tmp_path / "runs").code == 0
