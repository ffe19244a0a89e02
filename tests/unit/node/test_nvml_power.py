"""Energy of GPUs by NVML: scopes that are whole or missing, and readings that fail while a case runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

from bench.core.pseudonym import pseudonym
from bench.core.records import PowerRow
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


def test_a_gpu_lost_in_mid_run_is_null_and_told(tmp_path: Path, h100s: Callable[..., Any]) -> None:
    api = h100s()
    opened = open_sensors(root=tmp_path, api=api)
    api.fields.clear()
    api.gpus[0]["nvmlDeviceGetTotalEnergyConsumption"] = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    (row,) = opened.sensors[0].read(0)
    assert (row.watts, row.joules_counter) == (None, None)
    assert {fault["code"] for fault in opened.faults["gpu0"]} == {"device_lost", "refused"}
