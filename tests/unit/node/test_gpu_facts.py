"""What GPUs tell of their boards, settings, links and place, on an HGX board, in a rack, and where they refuse to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from bench.core.pseudonym import pseudonym
from bench.node.fingerprint import fingerprint, hardware_key
from bench.node.gpu import gpu_facts
from tests.support.gpu_answers import CHASSIS_SERIAL, CLUSTER, HGX_H100, RACK_FIELDS, RACK_GB300, UUID, fabric, links

Gpus = Callable[..., Any]


@pytest.fixture
def on_a_board(h100s: Gpus, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The facts of a GPU of an HGX board whose answers differ from the usual as given."""

    def read(**answers: Any) -> dict[str, Any]:
        (device,) = gpu_facts(h100s(1, **{**HGX_H100, **answers}), tmp_path)["devices"]
        return dict(device)

    return read


@pytest.fixture
def in_a_rack(h100s: Gpus, tmp_path: Path) -> dict[str, Any]:
    api = h100s(1, **RACK_GB300)
    api.fields.update(RACK_FIELDS)
    (device,) = gpu_facts(api, tmp_path)["devices"]
    return dict(device)


def unexplained(facts: dict[str, Any], place: str = "") -> Iterator[str]:
    for name, value in facts.items():
        if value is None and name not in facts["missing"]:
            yield place + name
        if isinstance(value, dict) and name != "missing":
            yield from unexplained(value, f"{place}{name}.")


def test_a_board_and_its_firmware_are_told(on_a_board: Callable[..., Any]) -> None:
    told = on_a_board()
    assert (told["board_part_number"], told["gsp_firmware"]) == ("692-2G520-0200-000", "580.82.07")
    assert (told["cuda_cores"], told["memory_bus_bits"]) == (16_896, 5120)
    inforom = {"image": "G520.0200.00.05", "oem": "2.1", "ecc": "7.16", "power": "1.0"}
    assert told["inforom"] == {**inforom, "missing": {}}
    assert list(unexplained(told)) == []


def test_settings_are_told_as_they_are_and_as_they_will_be_after_a_reset(on_a_board: Callable[..., Any]) -> None:
    told = on_a_board()
    assert (told["ecc_enabled"], told["ecc_pending"]) == (True, False)
    assert (told["compute_mode"], told["virtualisation"]) == ("exclusive process", "passthrough")
    assert (told["power_limits"]["min_w"], told["power_limits"]["max_w"]) == (200.0, 700.0)
    assert told["clocks"]["sm_application_mhz"] == 1_965
    assert told["clocks"]["memory_application_default_mhz"] == 2_619
    assert (told["temperature_limits"]["shutdown_c"], told["temperature_limits"]["gpu_max_c"]) == (92, 87)
    assert "Not Supported" in told["temperature_limits"]["missing"]["slowdown_margin_c"]


def test_rows_out_of_use_and_what_waits_for_a_reset_are_told(on_a_board: Callable[..., Any]) -> None:
    told = on_a_board()["row_remapping"]
    assert (told["corrected_rows"], told["uncorrected_rows"], told["pending"], told["failed"]) == (1, 2, True, False)
    assert (told["banks_with_max_spare"], told["banks_with_partial_spare"]) == (2557, 1)
    assert (told["channel_repair_pending"], told["tpc_repair_pending"]) == (False, True)


def test_links_that_are_down_are_counted_and_their_other_ends_told(on_a_board: Callable[..., Any]) -> None:
    told = on_a_board()["nvlink"]
    assert (told["links"], told["active"], told["version"], told["remote"]) == (18, 17, "4.0", ["switch"])
    down = on_a_board(nvmlDeviceGetNvLinkState=links([False, False]))["nvlink"]
    assert (down["links"], down["active"], down["version"], down["remote"]) == (2, 0, None, [])
    assert down["missing"]["version"] == "no link is up"
    none = on_a_board(nvmlDeviceGetNvLinkState=pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED))["nvlink"]
    assert none["links"] is None
    assert "Not Supported" in none["missing"]["links"]


def test_a_link_to_something_else_is_seen(on_a_board: Callable[..., Any]) -> None:
    told = on_a_board(nvmlDeviceGetNvLinkRemoteDeviceType=lambda link: 0 if link == 3 else 2)
    assert told["nvlink"]["remote"] == ["gpu", "switch"]


def test_a_fabric_inside_a_node_has_a_clique_and_no_cluster(on_a_board: Callable[..., Any]) -> None:
    told = on_a_board()["fabric"]
    assert (told["state"], told["cluster"], told["clique"]) == ("completed", None, 0)
    assert "inside one node" in told["missing"]["cluster"]


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (fabric(state=pynvml.NVML_GPU_FABRIC_STATE_IN_PROGRESS), "not finished"),
        (fabric(status=pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES), "refused"),
        (fabric(state=pynvml.NVML_GPU_FABRIC_STATE_NOT_SUPPORTED), "of no NVLink fabric"),
        (pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND), "Function Not Found"),
    ],
)
def test_a_clique_counts_only_when_the_fabric_has_taken_the_gpu_in(
    on_a_board: Callable[..., Any], info: Any, reason: str
) -> None:
    told = on_a_board(nvmlDeviceGetGpuFabricInfoV=info)["fabric"]
    assert told["clique"] is None
    assert reason in told["missing"]["clique"]


def test_a_place_in_a_rack_is_told_without_its_serial(in_a_rack: dict[str, Any]) -> None:
    platform, told = in_a_rack["platform"], in_a_rack["fabric"]
    assert (platform["slot"], platform["tray"], platform["host"], platform["module"]) == (24, 200, 1, 2)
    assert (told["cluster"], told["clique"]) == (pseudonym(CLUSTER.hex()), 32766)
    assert (told["degraded_bandwidth"], told["route_unhealthy"], told["misconfigured"]) == (True, False, "no")
    text = json.dumps(in_a_rack)
    serial = CHASSIS_SERIAL.decode()
    assert [secret for secret in (serial, pseudonym(serial), CLUSTER.hex(), UUID) if secret in text] == []


def test_a_superchip_tells_how_it_is_joined_to_its_processor(in_a_rack: dict[str, Any]) -> None:
    seat = in_a_rack["seat"]
    assert (seat["c2c_enabled"], seat["c2c_links"], seat["memory_numa_node"]) == (True, 10, 2)
    assert seat["addressing_mode"] == "address translation services"
    assert in_a_rack["nvlink"]["mb_per_s"] == 53_125
    assert (in_a_rack["power_limits"]["requested_w"], in_a_rack["power_limits"]["module_w"]) == (1200.0, 2700.0)


def test_power_smoothing_is_told_by_preset_and_by_what_was_put_over_it(in_a_rack: dict[str, Any]) -> None:
    told = in_a_rack["power_smoothing"]
    assert (told["enabled"], told["immediate_ramp_down"], told["active_preset"]) == (True, False, 2)
    assert (told["floor_percent"], told["ramp_up_w_per_s"], told["ramp_down_w_per_s"]) == (60, 250, 100)
    assert (told["ramp_down_delay_ms"], told["admin_floor_percent"]) == (500, 75)
    assert "no administrator" in told["missing"]["admin_ramp_up_w_per_s"]


def test_a_smoothing_field_that_answers_with_something_else_is_not_believed(h100s: Gpus, tmp_path: Path) -> None:
    api = h100s(1)
    api.fields[(pynvml.NVML_FI_PWR_SMOOTHING_ENABLED, 0)] = 48_211
    (device,) = gpu_facts(api, tmp_path)["devices"]
    assert device["power_smoothing"]["enabled"] is None
    assert "neither on nor off" in device["power_smoothing"]["missing"]["enabled"]


def test_power_profiles_are_named_by_their_bits(in_a_rack: dict[str, Any]) -> None:
    told = in_a_rack["power_profiles"]
    assert told["requested"] == ["max_q"]
    assert told["enforced"] == ["max_q", "profile 40"]


def test_a_gpu_sits_where_the_kernel_says(h100s: Gpus, tmp_path: Path, write: Callable[[str, object], Path]) -> None:
    write("sys/bus/pci/devices/0000:38:00.0/numa_node", 1)
    write("sys/bus/pci/devices/0000:38:00.0/local_cpulist", "48-95,144-191")
    (device,) = gpu_facts(h100s(1, **HGX_H100), tmp_path)["devices"]
    seat = device["seat"]
    assert (seat["pci_address"], seat["numa_node"], seat["nearest_cpus"]) == ("0000:38:00.0", 1, "48-95,144-191")


def test_instances_of_a_cut_gpu_are_named_whatever_their_numbers(h100s: Gpus, tmp_path: Path) -> None:
    instance = {"nvmlDeviceGetName": "NVIDIA H100 80GB HBM3 MIG 3g.40gb"}

    def by_index(index: int) -> dict[str, str]:
        if index not in (0, 2):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return instance

    answers = {"nvmlDeviceGetMigMode": [1, 1], "nvmlDeviceGetMigDeviceHandleByIndex": by_index}
    (device,) = gpu_facts(h100s(1, **{**HGX_H100, **answers}), tmp_path)["devices"]
    assert device["mig_instances"] == ["NVIDIA H100 80GB HBM3 MIG 3g.40gb"] * 2


def test_a_gpu_that_is_lost_tells_of_each_fact_that_it_is(h100s: Gpus, tmp_path: Path) -> None:
    lost = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    api = h100s(2)
    api.gpus[1] = dict.fromkeys({**api.gpus[1], **HGX_H100}, lost)
    sound, broken = gpu_facts(api, tmp_path)["devices"]
    assert sound["name"] == "NVIDIA H100 80GB HBM3"
    assert broken["name"] is None
    assert "GPU is lost" in broken["missing"]["power_limit_w"]
    assert list(unexplained(broken)) == []


def test_a_gpu_that_has_fallen_off_the_bus_makes_another_machine_and_not_one_without_gpus(
    h100s: Gpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = h100s(2, **HGX_H100)

    def handle(index: int) -> Any:
        if index == 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return api.gpus[index]

    monkeypatch.setattr(api, "nvmlDeviceGetHandleByIndex", handle, raising=False)
    told = fingerprint(tmp_path, api)
    broken, sound = told["gpu"]["devices"]
    assert (broken["name"], sound["name"]) == (None, "NVIDIA H100 80GB HBM3")
    assert broken["missing"]["name"] == "nvmlDeviceGetName without a handle: GPU is lost"
    assert list(unexplained(broken)) == []
    key = hardware_key(told, {"h100_sxm": ["NVIDIA H100 80GB HBM3"]})
    assert (key.key, key.units) == ("h100_sxm+unnamed-gpu", 2)


def test_confidential_computing_is_told(h100s: Gpus, tmp_path: Path) -> None:
    api = h100s(1)
    api.nvmlSystemGetConfComputeState = lambda: SimpleNamespace(ccFeature=1)
    assert gpu_facts(api, tmp_path)["confidential_compute"] is True
