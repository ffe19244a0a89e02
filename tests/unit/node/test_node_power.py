"""Which meters a machine has: scopes that are whole or missing, and one meter a scope."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from machine_trees import AMD_SERVER, INTEL_LAPTOP, INTEL_SERVER, Write, write_grace, write_meter, write_zones
from meter_serving import Answer, Meter, meter_serving
from redfish_trees import server_with_environment

from bench.core.errors import InputError
from bench.core.power_spec import DcgmSpec, PowerSpec, RedfishSpec
from bench.core.pseudonym import pseudonym
from bench.node.power import SCOPES, Sensors, open_sensors, refuse_unaskable_meters

GPU = "GPU-00000000-2222-3333-4444-555555555555"
EXPORTED = f'DCGM_FI_DEV_POWER_USAGE{{gpu="0",UUID="{GPU}"}} 300.5\n'


@pytest.fixture
def bmc(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    monkeypatch.setenv("BMC_USER", "reader")
    monkeypatch.setenv("BMC_PASSWORD", "s3cret")
    with meter_serving(server_with_environment(1000.0)) as meter:
        yield meter


@pytest.fixture
def exporter() -> Iterator[Meter]:
    with meter_serving({"/metrics": EXPORTED}) as meter:
        yield meter


def redfish(*urls: str, **settings: Any) -> PowerSpec:
    login = {"user_env": "BMC_USER", "password_env": "BMC_PASSWORD"}
    return PowerSpec(redfish=tuple(RedfishSpec(url=url, **login, **settings) for url in urls))


def dcgm(url: str) -> PowerSpec:
    return PowerSpec(dcgm=DcgmSpec(url=f"{url}/metrics"))


def scopes(opened: Sensors) -> dict[str, list[str]]:
    """By scope: the devices that are read."""
    found: dict[str, list[str]] = {}
    for sensor in opened.sensors:
        found.setdefault(sensor.scope, []).append(sensor.device)
    assert found.keys().isdisjoint(opened.missing)
    assert found.keys() | opened.missing.keys() == set(SCOPES)
    assert all(opened.missing.values())
    opened.close()
    return found


def test_a_machine_without_sensors_has_a_reason_for_every_scope(tmp_path: Path, no_driver: object) -> None:
    opened = open_sensors(root=tmp_path, api=no_driver)
    assert scopes(opened) == {}
    assert opened.unread is not None
    assert "NVML cannot be opened" in opened.unread
    assert "has no RAPL package" in opened.unread
    assert "psys" not in opened.unread
    assert opened.remark is None


@pytest.mark.parametrize(
    ("zones", "found"),
    [
        (
            INTEL_SERVER,
            {
                "cpu": ["cpu-package-0", "cpu-package-1"],
                "dram": ["dram-package-0", "dram-package-1"],
            },
        ),
        (INTEL_LAPTOP, {"cpu": ["cpu-package-0"], "psys": ["psys"]}),
        (AMD_SERVER, {"cpu": ["cpu-package-0", "cpu-package-1"]}),
    ],
)
def test_processors_of_x86(
    zones: dict[str, str], found: dict[str, list[str]], write: Write, tmp_path: Path, no_driver: object
) -> None:
    write_zones(write, zones)
    assert scopes(open_sensors(root=tmp_path, api=no_driver)) == found


def test_an_arm_server_has_meters_in_place_of_rapl(grace: Path, write: Write, no_driver: object) -> None:
    write_grace(write, sockets=2)
    write_meter(write, 20, "System Power", 1500.0)
    opened = open_sensors(root=grace, api=no_driver)
    assert opened.remark == "modules are read by the machine's own meters: all of them, used or not"
    assert scopes(opened) == {"module": ["module0", "module1"], "cpu": ["grace0", "grace1"], "node": ["node-meter"]}


def test_a_processor_with_both_is_read_once(write: Write, tmp_path: Path, no_driver: object) -> None:
    write_zones(write, INTEL_SERVER)
    write_meter(write, 0, "CPU Power Socket 0", 100.0)
    assert scopes(open_sensors(root=tmp_path, api=no_driver))["cpu"] == ["cpu-package-0", "cpu-package-1"]


def test_declared_watts_are_no_sensor(tmp_path: Path, no_driver: object) -> None:
    opened = open_sensors(PowerSpec(scope="node", watts=180), root=tmp_path, api=no_driver)
    assert opened.missing["node"].endswith("180 W is declared for it, which is assumed and not measured")
    assert scopes(opened) == {}


def test_a_controller_that_is_named_goes_before_the_machines_own_meter(
    bmc: Meter, write: Write, tmp_path: Path, no_driver: object
) -> None:
    write_meter(write, 0, "System Power", 950.0)
    assert scopes(open_sensors(redfish(bmc.url), root=tmp_path, api=no_driver)) == {"node": ["bmc0-1"]}
    opened = open_sensors(redfish(bmc.url, scope="rack"), root=tmp_path, api=no_driver)
    assert scopes(opened) == {"node": ["node-meter"], "rack": ["bmc0-1"]}


def test_a_controller_that_tells_nothing_leaves_the_machines_own_meter_and_is_told(
    bmc: Meter, write: Write, tmp_path: Path, no_driver: object
) -> None:
    bmc.tells["/redfish/v1/"] = Answer(status=401)
    opened = open_sensors(redfish(bmc.url), root=tmp_path, api=no_driver)
    reason = "power.redfish: unauthorized: GET /redfish/v1/ is answered 401"
    assert opened.missing["node"].startswith(f"{reason}; no power meter in ")
    assert opened.unread is not None
    assert reason in opened.unread
    write_meter(write, 0, "System Power", 950.0)
    opened = open_sensors(redfish(bmc.url), root=tmp_path, api=no_driver)
    assert opened.remark == "power.redfish is not read as node: unauthorized: GET /redfish/v1/ is answered 401"
    assert scopes(opened) == {"node": ["node-meter"]}


def test_a_rack_is_all_of_its_controllers_or_missing(bmc: Meter, tmp_path: Path, no_driver: object) -> None:
    with meter_serving(server_with_environment(500.0)) as shelf:
        named = redfish(bmc.url, shelf.url, scope="rack")
        opened = open_sensors(named, root=tmp_path, api=no_driver)
        rows = [row for sensor in opened.sensors for row in sensor.read(0)]
        assert [(row.device, row.watts) for row in rows] == [("bmc0-1", 1000.0), ("bmc1-1", 500.0)]
        opened.close()
        shelf.tells["/redfish/v1/"] = Answer(status=500)
        opened = open_sensors(named, root=tmp_path, api=no_driver)
        assert opened.missing["rack"] == "power.redfish.1: refused: GET /redfish/v1/ is answered 500"
        assert scopes(opened) == {}


A = {"url": "https://a", "user_env": "BMC_USER", "password_env": "BMC_PASSWORD"}
B = {**A, "url": "https://b"}


@pytest.mark.parametrize(
    ("written", "urls"), [(None, []), ([], []), (A, ["https://a"]), ([A, B], ["https://a", "https://b"])]
)
def test_a_suite_names_no_controller_or_one_or_several(written: Any, urls: list[str]) -> None:
    spec = PowerSpec.model_validate({"redfish": written})
    assert [one.url for one in spec.redfish] == urls
    assert PowerSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_dcgm_tells_of_gpus_where_nvml_does_not(exporter: Meter, tmp_path: Path, no_driver: object) -> None:
    used = [pseudonym(GPU)]
    opened = open_sensors(dcgm(exporter.url), accelerator_ids=used, root=tmp_path, api=no_driver)
    assert opened.remark == "energy of GPUs is that of their boards as DCGM reports it"
    assert scopes(opened) == {"gpu": ["gpu0"]}
    opened = open_sensors(dcgm(exporter.url), root=tmp_path, api=no_driver)
    assert "which of them are used is not known" in (opened.remark or "")
    opened.close()


def test_dcgm_is_not_asked_where_nvml_tells(
    exporter: Meter, tmp_path: Path, h100s: Callable[..., Any], no_driver: object
) -> None:
    opened = open_sensors(dcgm(exporter.url), root=tmp_path, api=h100s())
    assert "power.dcgm is not asked: NVML tells" in (opened.remark or "")
    assert scopes(opened)["gpu"] == ["gpu0"]
    opened = open_sensors(dcgm(exporter.url), accelerator_ids=[], root=tmp_path, api=no_driver)
    assert opened.missing["gpu"].endswith("the engine uses no GPU")
    assert exporter.asked == []


def test_a_gpu_that_dcgm_does_not_know_is_missing_with_both_reasons(
    exporter: Meter, tmp_path: Path, no_driver: object
) -> None:
    opened = open_sensors(dcgm(exporter.url), accelerator_ids=["0123456789abcdef"], root=tmp_path, api=no_driver)
    assert scopes(opened) == {}
    assert "NVML cannot be opened" in opened.missing["gpu"]
    assert "DCGM meters no GPU 0123456789abcdef" in opened.missing["gpu"]


def test_what_is_open_is_closed_when_a_meter_cannot_be_asked(tmp_path: Path, h100s: Callable[..., Any]) -> None:
    api = h100s()
    with pytest.raises(InputError, match=r"^power\.redfish\.url: "):
        open_sensors(redfish("10.0.0.7"), root=tmp_path, api=api)
    assert api.opened == 0


def test_a_suite_that_names_what_cannot_be_asked_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_unaskable_meters(PowerSpec())
    with pytest.raises(InputError, match=r"^power\.redfish\.user_env: the environment variable 'BMC_USER' is not set"):
        refuse_unaskable_meters(redfish("https://10.0.0.7"))
    monkeypatch.setenv("BMC_USER", "reader")
    monkeypatch.setenv("BMC_PASSWORD", "s3cret")
    with pytest.raises(InputError, match=r"^power\.redfish\.1\.url: "):
        refuse_unaskable_meters(redfish("https://10.0.0.7", "10.0.0.8"))
    with pytest.raises(InputError, match=r"^power\.dcgm\.url: "):
        refuse_unaskable_meters(dcgm("ftp://10.0.0.7"))


def test_a_node_is_described_with_its_faults(write: Write, tmp_path: Path, no_driver: object) -> None:
    energy = write_zones(write, AMD_SERVER)
    opened = open_sensors(root=tmp_path, api=no_driver)
    energy["1"].write_text("")
    for sensor in opened.sensors:
        list(sensor.read(3))
    described = opened.describe()
    assert list(described["sensors"]) == ["cpu-package-0", "cpu-package-1"]
    assert list(described["problems"]) == ["cpu-package-1"]
    assert [fault["code"] for fault in described["faults"]["cpu-package-1"]] == ["not_read"]
    opened.close()
