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
    return 0


def fill_platform(reference: Any) -> int:
    info = reference._obj
    ctypes.memmove(info.chassisSerialNumber, CHASSIS, len(CHASSIS))
    ctypes.memmove(ctypes.addressof(info) + type(info).slotNumber.offset, b"\xc8", 1)
    return 0


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


def replay_of(api: Any, calls: Callable[[Any], object]) -> ReplayedNvml:
    """What `api` answered to `calls`, written down and replayed."""
    out = io.StringIO()
    out.write(json.dumps(header("recorded", "a test")) + "\n")
    calls(RecordingNvml(api, out, RealClock()))
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


def test_equal_serial_numbers_stay_equal_and_others_differ(h100s: Callable[..., Any]) -> None:
    api = h100s(3)
    for gpu, serial in enumerate((SERIAL, SERIAL, "1650000000002")):
        api.gpus[gpu]["nvmlDeviceGetSerial"] = serial

    def serials(api: Any) -> list[str]:
        return [api.nvmlDeviceGetSerial(api.nvmlDeviceGetHandleByIndex(gpu)) for gpu in range(3)]

    first, second, third = serials(replay_of(api, serials))
    assert first == second != third


def test_structures_of_the_driver_are_told_whole(h100s: Callable[..., Any]) -> None:
    pci = pynvml.nvmlPciInfo_t(busId=b"00000008:06:00.0", bus=6)
    profiles = pynvml.c_nvmlWorkloadPowerProfileCurrentProfiles_v1_t()
    profiles.requestedProfilesMask.mask[1] = 5
    event = pynvml.c_nvmlEventData_t(eventData=79)  # the device it names is a pointer, here to nothing
    # Any function will do: a made-up GPU answers with whatever it was given.
    answers = {"nvmlDeviceGetPciInfo": pci, "nvmlDeviceGetC2cModeInfoV": profiles, "nvmlDeviceGetMemoryInfo": event}

    def ask(api: Any) -> list[Any]:
        gpu = api.nvmlDeviceGetHandleByIndex(0)
        return [getattr(api, function)(gpu) for function in answers]

    pci, profiles, event = ask(replay_of(h100s(**answers), ask))
    assert (pci.busId, pci.bus) == ("00000008:06:00.0", 6)
    assert list(profiles.requestedProfilesMask.mask) == [0, 5, 0, 0, 0, 0, 0, 0]
    assert event.eventData == 79


def test_answers_follow_the_time_and_events_their_order() -> None:
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

    def ask(api: Any) -> None:
        with pytest.raises(pynvml.NVMLError, match="lost"):
            api.nvmlDeviceGetPowerUsage(api.nvmlDeviceGetHandleByIndex(0))

    replayed = replay_of(tray, ask)
    ask(replayed)
    gpu = replayed.nvmlDeviceGetHandleByIndex(0)
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


def test_the_command_says_in_one_line_that_there_is_nothing_to_record(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, no_driver: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", no_driver.nvmlInit)
    ran = bench("node", "record", tmp_path / "node.jsonl")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == "bench: nothing to record: NVML cannot be opened: NVML Shared Library Not Found\n"
    assert bench("node", "record", tmp_path / "node.jsonl", "--seconds", "0").code == 2


@pytest.mark.gpu
def test_this_machines_gpus_are_recorded_and_replayed(bench: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "node.jsonl"
    told = bench("node", "record", file, "--seconds", "2", "--json").json
    lines = file.read_text().splitlines()
    assert told["calls"] == len(lines) - 1
    devices = fingerprint(api=ReplayedNvml(lines, SteppedClock()))["gpu"]["devices"]
    assert [device["name"] for device in devices] == told["gpus"]
    clock = SteppedClock()
    replayed = open_sensors(api=ReplayedNvml(lines, clock))
    live = open_sensors()
    assert replayed.sources == live.sources
    live.close()
    clock.t_ns = 2_000_000_000
    for sensor in replayed.sensors:
        if sensor.scope == "gpu":
            assert all(row.watts or row.joules_counter for row in sensor.read(1))


def test_what_is_no_recording_is_refused() -> None:
    with pytest.raises(ValueError, match="no recording"):
        ReplayedNvml(['{"schema": "another"}'], SteppedClock())
