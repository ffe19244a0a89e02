"""Energy of GPUs by NVML: scopes that are whole or missing, and readings that fail while a case runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

from bench.core.pseudonym import pseudonym
from bench.core.records import PowerRow
from bench.node.gpu import gpu_facts
from bench.node.power import open_sensors

NOT_SUPPORTED = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def test_a_gpu_gives_its_energy_counter_and_instant_power(tmp_path: Path, h100s: Callable[..., Any]) -> None:
    api = h100s(2)
    opened = open_sensors(root=tmp_path, api=api)
    rows = [row for sensor in opened.sensors for row in sensor.read(5)]
    assert rows == [PowerRow(5, "gpu", f"gpu{i}", watts=312.5, joules_counter=5000.0) for i in range(2)]
    assert opened.sources["gpu0"] == "energy counter; instant power (NVML field 186, GPU scope)"
    assert "gpu" not in opened.missing
    opened.close()
    assert api.opened == 0


def test_only_the_gpus_an_engine_uses_are_read(tmp_path: Path, h100s: Callable[..., Any]) -> None:
    api = h100s(8)
    first, last = (pseudonym(api.gpus[index]["nvmlDeviceGetUUID"]) for index in (2, 5))
    # A GPU that nobody uses may even be unreadable.
    api.gpus[0] |= {"nvmlDeviceGetTotalEnergyConsumption": NOT_SUPPORTED, "nvmlDeviceGetPowerUsage": NOT_SUPPORTED}
    opened = open_sensors(accelerator_ids=[first, last], root=tmp_path, api=api)
    assert list(opened.sources) == ["gpu2", "gpu5"]
    assert opened.remark is None


def test_an_engine_that_cannot_say_has_every_gpu_read_and_that_is_told(
    tmp_path: Path, h100s: Callable[..., Any], no_driver: object
) -> None:
    opened = open_sensors(root=tmp_path, api=h100s(3))
    assert len(opened.sensors) == 3
    assert opened.remark == "every GPU of the machine is read (3): which of them are used is not known"
    assert open_sensors(root=tmp_path, api=no_driver).remark is None


@pytest.mark.parametrize(
    ("ids", "reason"), [([], "the engine uses no GPU"), (["0123456789abcdef"], "no GPU 0123456789abcdef")]
)
def test_gpus_that_are_not_used_or_not_known_are_not_charged(
    tmp_path: Path, h100s: Callable[..., Any], ids: list[str], reason: str
) -> None:
    opened = open_sensors(accelerator_ids=ids, root=tmp_path, api=h100s(2))
    assert opened.sensors == ()
    assert reason in opened.missing["gpu"]


def test_power_falls_back_from_instant_to_average_to_the_older_call(tmp_path: Path, h100s: Callable[..., Any]) -> None:
    api = h100s()
    del api.fields[(pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_POWER_SCOPE_GPU)]
    (row,) = open_sensors(root=tmp_path, api=api).sensors[0].read(0)
    assert row.watts == 305.0
    api.fields.clear()
    opened = open_sensors(root=tmp_path, api=api)
    (row,) = opened.sensors[0].read(0)
    assert row.watts == 310.0
    assert opened.sources["gpu0"] == "energy counter; power usage"


def test_a_gpu_without_a_counter_still_gives_power(tmp_path: Path, h100s: Callable[..., Any]) -> None:
    opened = open_sensors(root=tmp_path, api=h100s(nvmlDeviceGetTotalEnergyConsumption=NOT_SUPPORTED))
    (row,) = opened.sensors[0].read(0)
    assert (row.watts, row.joules_counter) == (312.5, None)
    assert opened.problems == {}


def test_one_silent_gpu_makes_the_scope_missing(tmp_path: Path, h100s: Callable[..., Any]) -> None:
    api = h100s(2)
    api.fields.clear()
    api.gpus[1] |= {"nvmlDeviceGetTotalEnergyConsumption": NOT_SUPPORTED, "nvmlDeviceGetPowerUsage": NOT_SUPPORTED}
    opened = open_sensors(root=tmp_path, api=api)
    assert opened.sensors == ()
    assert opened.missing["gpu"].startswith("gpu1: ")
    assert "Not Supported" in opened.missing["gpu"]


@pytest.fixture
def off_the_bus(h100s: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Three GPUs of which the first has no handle any more and the last has one that answers nothing."""
    lost = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    api = h100s(3)
    api.gpus[2] = dict.fromkeys(api.gpus[2], lost)

    def handle(index: int) -> Any:
        if index == 0:
            raise lost
        return api.gpus[index]

    monkeypatch.setattr(api, "nvmlDeviceGetHandleByIndex", handle, raising=False)
    return api


def test_gpus_lost_before_the_run_do_not_take_the_energy_of_the_others(tmp_path: Path, off_the_bus: Any) -> None:
    used = pseudonym(off_the_bus.gpus[1]["nvmlDeviceGetUUID"])
    for ids in ([used], None):
        opened = open_sensors(accelerator_ids=ids, root=tmp_path, api=off_the_bus)
        assert list(opened.sources) == ["gpu1"]
        assert opened.remark is not None
        assert "not read, because lost: gpu0, gpu2" in opened.remark
        assert [row.watts for sensor in opened.sensors for row in sensor.read(0)] == [312.5]


def test_a_gpu_that_is_used_and_lost_makes_the_scope_missing(tmp_path: Path, off_the_bus: Any) -> None:
    used = [pseudonym(f"GPU-{number:08x}-2222-3333-4444-555555555555") for number in (1, 2)]
    opened = open_sensors(accelerator_ids=used, root=tmp_path, api=off_the_bus)
    assert opened.sensors == ()
    assert f"no GPU {used[1]}" in opened.missing["gpu"]
    off_the_bus.gpus[1] = off_the_bus.gpus[2]
    assert open_sensors(root=tmp_path, api=off_the_bus).missing["gpu"] == "every GPU of the machine is lost"


def test_a_counter_that_goes_back_is_written_down_and_told(tmp_path: Path, h100s: Callable[..., Any]) -> None:
    api = h100s()
    opened = open_sensors(root=tmp_path, api=api)
    sensor = opened.sensors[0]
    readings = []
    for millijoules in (5_000_000, 6_000_000, 100, 7_000_000):
        api.gpus[0]["nvmlDeviceGetTotalEnergyConsumption"] = millijoules
        readings += [row.joules_counter for row in sensor.read(0)]
    assert readings == [5000.0, 6000.0, 0.1, 7000.0]
    assert opened.problems["gpu0"].startswith("counter_went_back: ")
    (fault,) = opened.faults["gpu0"]
    assert (fault["code"], fault["readings"]) == ("counter_went_back", 1)


def test_a_driver_older_than_a_function_and_bytes_that_are_no_text_are_reasons(
    tmp_path: Path, h100s: Callable[..., Any]
) -> None:
    def is_older() -> None:
        raise pynvml.NVMLLibraryMismatchError("another version")

    api = h100s(1, nvmlDeviceGetComputeRunningProcesses=is_older, nvmlDeviceGetName=lambda: b"\xff".decode())
    assert list(open_sensors(root=tmp_path, api=api).sources) == ["gpu0"]
    (device,) = gpu_facts(api, tmp_path)["devices"]
    assert device["missing"]["name"] == "nvmlDeviceGetName answers with what is no text"


def test_a_field_of_a_type_that_is_not_known_is_not_told(tmp_path: Path, h100s: Callable[..., Any]) -> None:
    api = h100s()
    known = api._field

    def of_another_type(field: int, scope: int) -> Any:
        answer = known(field, scope)
        answer.valueType = pynvml.NVML_VALUE_TYPE_COUNT
        return answer

    api._field = of_another_type
    opened = open_sensors(root=tmp_path, api=api)
    assert opened.sources["gpu0"] == "energy counter; power usage"


def test_a_gpu_lost_in_mid_run_is_null_and_told(tmp_path: Path, h100s: Callable[..., Any]) -> None:
    api = h100s()
    opened = open_sensors(root=tmp_path, api=api)
    api.fields.clear()
    api.gpus[0]["nvmlDeviceGetTotalEnergyConsumption"] = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    (row,) = opened.sensors[0].read(0)
    assert (row.watts, row.joules_counter) == (None, None)
    assert {fault["code"] for fault in opened.faults["gpu0"]} == {"device_lost", "refused"}
