"""A management controller on loopback: what is asked of it, what it may not see, and what becomes of its faults."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from meter_serving import LOCALHOST, PASSWORD, USER, Answer, Meter, meter_serving
from redfish_trees import CHASSIS, server_with_environment

from bench.core.errors import InputError
from bench.core.power_spec import RedfishSpec
from bench.core.units import NS_PER_S
from bench.node.http_reader import MeterError
from bench.node.redfish import RedfishSensor

METRICS = f"{CHASSIS}/1/EnvironmentMetrics"


@pytest.fixture(autouse=True)
def _login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMC_USER", USER)
    monkeypatch.setenv("BMC_PASSWORD", PASSWORD)


@pytest.fixture
def bmc() -> Iterator[Meter]:
    with meter_serving(server_with_environment(1000.0, EnergyJoules={"Reading": 5e6}), login=(USER, PASSWORD)) as meter:
        yield meter


def spec(url: str, **settings: Any) -> RedfishSpec:
    return RedfishSpec(url=url, user_env="BMC_USER", password_env="BMC_PASSWORD", **settings)


def test_power_and_energy_are_read_with_the_login_and_nothing_is_written(bmc: Meter) -> None:
    sensor = RedfishSensor(spec(bmc.url, interval_s=0.5))
    asked = len(bmc.asked)
    (row,) = sensor.read(10 * NS_PER_S)
    assert (row.scope, row.device, row.watts, row.joules_counter) == ("node", "bmc0-1", 1000.0, 5e6)
    assert 10 * NS_PER_S <= row.t_ns < 15 * NS_PER_S
    assert sensor.source == "Redfish EnvironmentMetrics PowerWatts and EnergyJoules"
    assert sensor.interval_s == 0.5
    assert bmc.asked[asked:] == [METRICS]
    assert bmc.methods == {"GET"}
    sensor.close()


def test_a_rack_is_what_the_suite_says_it_is(bmc: Meter) -> None:
    sensor = RedfishSensor(spec(bmc.url, scope="rack", chassis="1"))
    assert [row.scope for row in sensor.read(0)] == ["rack"]
    sensor.close()


def test_a_wrong_password_is_refused_and_never_tried_again(bmc: Meter) -> None:
    sensor = RedfishSensor(spec(bmc.url))
    bmc.login = (USER, "changed meanwhile")
    (row,) = sensor.read(0)
    assert (row.watts, row.joules_counter) == (None, None)
    assert sensor.faults.as_list()[0]["code"] == "unauthorized"
    asked = len(bmc.asked)
    assert sensor.read(3600 * NS_PER_S) == []
    assert len(bmc.asked) == asked
    sensor.close()
    with pytest.raises(MeterError, match=r"^unauthorized: GET /redfish/v1/ is answered 401"):
        RedfishSensor(spec(bmc.url))
    assert len(bmc.asked) == asked + 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(hangs=True), "timeout"),
        (Answer(status=503), "refused"),
        (Answer(b"<html>"), "malformed"),
        (Answer(b"[1]"), "malformed"),
        (Answer(b"\xff\xfe{}"), "malformed"),
        (Answer(b"[" * 100_000), "malformed"),
        (Answer(b" " * (9 << 20)), "malformed"),
        (Answer(b'{"PowerWatts": {"Reading": "hot"}}'), "malformed"),
        (Answer(b'{"PowerWatts": {"Reading": null}}'), "no_power"),
        (Answer(status=302, location=METRICS), "redirected"),
        (Answer(status=302, location="http://127.0.0.1:1/elsewhere"), "redirected"),
        (Answer(status=302, location="//127.0.0.1:1/elsewhere"), "redirected"),
    ],
)
def test_a_fault_is_null_and_typed_and_the_next_answer_counts(answer: Answer, code: str, bmc: Meter) -> None:
    sensor = RedfishSensor(spec(bmc.url, timeout_s=0.2))
    told, bmc.tells[METRICS] = bmc.tells[METRICS], answer
    (row,) = sensor.read(0)
    assert (row.watts, row.joules_counter) == (None, None)
    (fault,) = sensor.faults.as_list()
    assert (fault["code"], fault["readings"]) == (code, 1)
    bmc.tells[METRICS] = told
    assert [row.watts for row in sensor.read(NS_PER_S)] == [1000.0]
    sensor.close()


def test_a_redirect_on_the_server_itself_is_followed(bmc: Meter) -> None:
    bmc.tells["/redfish/v1/"] = Answer(status=308, location="/redfish/v1")
    bmc.tells["/redfish/v1"] = {"Chassis": {"@odata.id": CHASSIS}}
    sensor = RedfishSensor(spec(bmc.url))
    assert [row.watts for row in sensor.read(0)] == [1000.0]
    sensor.close()


def test_while_it_does_not_answer_it_is_asked_ever_less(bmc: Meter) -> None:
    sensor = RedfishSensor(spec(bmc.url))
    bmc.tells[METRICS] = Answer(status=500)
    asked = len(bmc.asked)
    answered = [second for second in range(200) if sensor.read(second * NS_PER_S)]
    assert answered == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert len(bmc.asked) - asked == len(answered)
    bmc.tells[METRICS] = {"PowerWatts": {"Reading": 7.0}, "EnergyJoules": {"Reading": 8.0}}
    assert [row.watts for row in sensor.read(300 * NS_PER_S)] == [7.0]
    assert [row.watts for row in sensor.read(301 * NS_PER_S)] == [7.0]
    sensor.close()


def test_a_path_that_leads_elsewhere_gets_no_password(bmc: Meter) -> None:
    with meter_serving({}) as other:
        for path in (f"{other.url}/redfish/v1/Chassis", f"//{other.url.removeprefix('http://')}/x", "chassis", "/a\nb"):
            bmc.tells["/redfish/v1/"] = {"Chassis": {"@odata.id": path}}
            with pytest.raises(MeterError):
                RedfishSensor(spec(bmc.url))
        bmc.tells["/redfish/v1/"] = Answer(status=302, location=f"{other.url}/redfish/v1/")
        with pytest.raises(MeterError, match=r"^redirected: to another server"):
            RedfishSensor(spec(bmc.url))
        assert other.asked == []


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(MeterError, match=r"^unreachable: GET /redfish/v1/: "):
        RedfishSensor(spec("http://127.0.0.1:1"))


def test_tls_is_verified() -> None:
    with meter_serving(server_with_environment(77.0), login=(USER, PASSWORD), tls=True) as bmc:
        with pytest.raises(MeterError, match=r"^unreachable: .*certificate verify failed"):
            RedfishSensor(spec(bmc.url))
        assert bmc.asked == []
        for trusted in ({"ca_file": str(LOCALHOST)}, {"verify_tls": False}):
            sensor = RedfishSensor(spec(bmc.url, **trusted))
            assert [row.watts for row in sensor.read(0)] == [77.0]
            sensor.close()


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"url": "10.0.0.7"}, "url"),
        ({"url": "http://10.0.0.7"}, "url: would show the password on its way"),
        ({"url": "https://admin:s3cret@10.0.0.7"}, "url: holds a user or a password"),
        ({"url": "admin:s3cret@10.0.0.7"}, r"url: no URL \("),
        ({"url": "https:/admin:s3cret@10.0.0.7"}, r"url: no URL \("),
        ({"url": "https://10.0.0.7/?password=s3cret"}, "url: holds a query"),
        ({"url": "https://10.0.0.7/redfish/v1"}, "url: names a path"),
        ({"url": "http://127.0.0.1", "ca_file": "ca.pem"}, "ca_file: the server is asked without TLS"),
        ({"url": "https://10.0.0.7", "ca_file": "/nowhere.pem"}, "ca_file: /nowhere.pem: "),
        ({"url": "https://10.0.0.7", "user_env": "BMC_NOBODY"}, "user_env: the environment variable 'BMC_NOBODY'"),
        ({"url": "https://10.0.0.7", "password_env": "BMC_NOBODY"}, "password_env: the environment variable 'BMC_NOB"),
        ({"url": "https://10.0.0.7", "password_env": "s3cret"}, "password_env: the environment variable, whose name"),
    ],
)
def test_what_cannot_be_asked_is_bad_input(settings: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError, match=rf"^power\.redfish\.{where}") as refused:
        RedfishSensor(RedfishSpec(**{"user_env": "BMC_USER", "password_env": "BMC_PASSWORD", **settings}))
    assert "s3cret" not in str(refused.value)


def test_the_password_is_told_nowhere(bmc: Meter, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f'{{"Id": 1, "PowerWatts": {{"Reading": "{PASSWORD}"}}}}'
    sensor = RedfishSensor(spec(bmc.url))
    for second, answer in enumerate(
        (Answer(PASSWORD.encode(), status=500), Answer(echo.encode()), Answer(PASSWORD.encode()))
    ):
        bmc.tells[METRICS] = answer
        sensor.read(100 * second * NS_PER_S)
    bmc.tells[METRICS] = Answer(status=302, location=f"/{PASSWORD}")
    sensor.read(1000 * NS_PER_S)
    told = f"{sensor.faults.as_list()} {vars(sensor)} {vars(sensor._reader)}"
    sensor.close()
    assert PASSWORD not in told
    assert PASSWORD not in caplog.text
