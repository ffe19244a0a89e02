"""Recordings of NVML: what is replayed is what was told, and nobody learns whose hardware it was."""

from __future__ import annotations

import ctypes
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from nvml_replay import ExhaustedError, ReplayedNvml, SteppedClock

from bench.core.clock import RealClock
from bench.core.errors import BenchError, InputError
from bench.core.pseudonym import pseudonym
from bench.node.fingerprint import fingerprint
from bench.node.nvml_recording import RecordingNvml, header, record_node
from bench.node.power import open_sensors

SERIAL = "1650000000001"
CHASSIS = b"1820000000001"
CLUSTER = bytes(range(16))


def fill_fabric(reference: Any) -> int:
    info = reference._obj
    info.state, info.cliqueId, info.healthMask = pynvml.NVML_GPU_FABRIC_STATE_COMPLETED, 32766, 0b1010
    ctypes.memmove(info.clusterUuid, CLUSTER, len(CLUSTER))
    return pynvml.NVML_SUCCESS


def fill_platform(reference: Any) -> int:
    info = reference._obj
    ctypes.memmove(info.chassisSerialNumber, CHASSIS, len(CHASSIS))
    ctypes.memmove(ctypes.addressof(info) + type(info).slotNumber.offset, b"\xc8", 1)
    return pynvml.NVML_SUCCESS


@pytest.fixture
def tray(h100s: Callable[..., Any]) -> Any:
    """Two GPUs of one board, with everything that could name it."""
    return h100s(
        2,
        nvmlDeviceGetSerial=SERIAL,
        nvmlDeviceGetGpuFabricInfoV=fill_fabric,
        nvmlDeviceGetPlatformInfo=fill_platform,
        nvmlDeviceGetComputeRunningProcesses=[SimpleNamespace(pid=41, usedGpuMemory=1 << 30)],
    )


def recorded(api: Any, *calls: tuple[Any, ...]) -> ReplayedNvml:
    """`calls` made to `api` and written down: functions, with the numbers of GPUs where a handle belongs."""
    out = io.StringIO(json.dumps(header("recorded", "a test")) + "\n")
    out.seek(0, io.SEEK_END)
    recording = RecordingNvml(api, out, RealClock())
    for function, gpu, *arguments in calls:
        getattr(recording, function)(recording.nvmlDeviceGetHandleByIndex(gpu), *arguments)
    return ReplayedNvml(out.getvalue().splitlines(), SteppedClock())


def test_a_recorded_node_is_replayed_as_it_was(tray: Any, grace: Path, tmp_path: Path) -> None:
    file = tmp_path / "node.jsonl"
    told = record_node(file, 0.3, root=grace, api=tray)
    lines = file.read_text().splitlines()
    assert (told.calls, told.gpus) == (len(lines) - 1, ("NVIDIA H100 80GB HBM3",) * 2)
    replayed = ReplayedNvml(lines, SteppedClock())
    assert replayed.origin == "recorded"
    live, again = (open_sensors(root=grace, api=api) for api in (tray, replayed))
    assert again.sources == live.sources
    assert [sensor.read(7) for sensor in again.sensors] == [sensor.read(7) for sensor in live.sensors]
    first, second = (fingerprint(grace, api)["gpu"]["devices"] for api in (tray, replayed))
    assert [device["name"] for device in first] == [device["name"] for device in second]
    assert first[0]["fabric"]["clique"] == second[0]["fabric"]["clique"] == 32766
    assert first[0]["platform"]["slot"] == second[0]["platform"]["slot"] == 200
    live.close()
    assert tray.opened == 0


def test_a_recording_names_no_hardware(tray: Any, grace: Path, tmp_path: Path) -> None:
    file = tmp_path / "node.jsonl"
    record_node(file, 0.1, root=grace, api=tray)
    text = file.read_text()
    uuid = tray.gpus[0]["nvmlDeviceGetUUID"]
    assert f"GPU-{pseudonym(uuid)}" in text
    for secret in (uuid[4:], SERIAL, CLUSTER.hex(), CHASSIS.decode(), CHASSIS.hex()):
        assert secret not in text


def test_equal_serial_numbers_stay_equal_and_others_differ(tray: Any) -> None:
    tray.gpus[1]["nvmlDeviceGetSerial"] = "1650000000002"
    replayed = recorded(tray, *(("nvmlDeviceGetSerial", gpu) for gpu in (0, 1, 0)))
    first, second = (replayed.nvmlDeviceGetSerial(replayed.nvmlDeviceGetHandleByIndex(gpu)) for gpu in (0, 1))
    assert first != second


def test_answers_follow_the_time_and_events_their_order(tray: Any) -> None:
    lines = [
        json.dumps(header("synthetic", "a test")),
        *(
            json.dumps({"function": "nvmlDeviceGetPowerUsage", "arguments": [], "t_ns": t_ns, **outcome})
            for t_ns, outcome in ((0, {"result": 1}), (100, {"result": 2}), (200, {"error": pynvml.NVML_ERROR_TIMEOUT}))
        ),
        *(
            json.dumps({"function": "nvmlEventSetWait_v2", "arguments": [], "t_ns": 0, **outcome})
            for outcome in ({"result": 79}, {"error": pynvml.NVML_ERROR_TIMEOUT})
        ),
    ]
    clock = SteppedClock()
    replayed = ReplayedNvml(lines, clock, repeating=False)
    assert [replayed.nvmlDeviceGetPowerUsage() for _ in range(2)] == [1, 1]
    assert replayed.nvmlEventSetWait_v2() == 79
    for _ in range(2):
        with pytest.raises(pynvml.NVMLError, match="Timeout"):
            replayed.nvmlEventSetWait_v2()
    clock.t_ns = 150
    assert replayed.nvmlDeviceGetPowerUsage() == 2
    clock.t_ns = 201
    with pytest.raises(ExhaustedError):
        replayed.nvmlDeviceGetPowerUsage()


def test_what_was_refused_or_never_asked_is_refused_again(tray: Any) -> None:
    tray.gpus[0]["nvmlDeviceGetPowerUsage"] = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    out = io.StringIO()
    out.write(json.dumps(header("recorded", "a test")) + "\n")
    recording = RecordingNvml(tray, out, RealClock())
    with pytest.raises(pynvml.NVMLError, match="lost"):
        recording.nvmlDeviceGetPowerUsage(recording.nvmlDeviceGetHandleByIndex(0))
    replayed = ReplayedNvml(out.getvalue().splitlines(), SteppedClock())
    gpu = replayed.nvmlDeviceGetHandleByIndex(0)
    with pytest.raises(pynvml.NVMLError, match="lost"):
        replayed.nvmlDeviceGetPowerUsage(gpu)
    with pytest.raises(pynvml.NVMLError, match="Not Supported"):
        replayed.nvmlDeviceGetName(gpu)
    (answer,) = replayed.nvmlDeviceGetFieldValues(gpu, [(pynvml.NVML_FI_DEV_ENERGY, 0)])
    assert answer.nvmlReturn == pynvml.NVML_ERROR_NOT_SUPPORTED


def test_nothing_is_recorded_without_gpus(tray: Any, no_driver: Any, h100s: Any, tmp_path: Path) -> None:
    file = tmp_path / "node.jsonl"
    for api, why in ((no_driver, "Not Found"), (h100s(0), "finds no GPU")):
        with pytest.raises(BenchError, match=why) as refused:
            record_node(file, 1.0, api=api)
        assert refused.value.exit_code == 3
        assert not file.exists()
    file.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        record_node(file, 1.0, api=tray)
    assert file.read_text() == "mine"
    with pytest.raises(InputError, match="cannot be written"):
        record_node(tmp_path / "nowhere" / "node.jsonl", 1.0, api=tray)


def test_what_is_no_recording_is_refused() -> None:
    with pytest.raises(ValueError, match="no recording"):
        ReplayedNvml(['{"schema": "another"}'], SteppedClock())
