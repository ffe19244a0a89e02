"""A whole run beside a management controller: its joules are a node's, its faults are told, its password is not."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from meter_serving import PASSWORD, USER, Answer, Meter, meter_serving
from redfish_trees import CHASSIS, server_with_environment

from bench import recording
from bench.node.power import SCOPES

METRICS = f"{CHASSIS}/1/EnvironmentMetrics"
MEAN_W, SWING_W = 5000.0, 5.0
SUITE = """
specs:
  - name: metered
    model: {path: tiny}
    engine: {kind: mock, ttft_ms: 10, tpot_ms: 5}
    workload: {kind: fixed, sessions: 32, prompt_tokens: 16, output_tokens: 80}
    load: {kind: closed, concurrency: 4}
    measure: {percentiles: [0.5], warmup_sessions: 1}
    power:
      interval_s: 0.05
      redfish: {url: "URL", user_env: BMC_USER, password_env: BMC_PASSWORD, interval_s: 0.2, timeout_s: 0.5}
"""


def metrics() -> dict[str, Any]:
    """What a server draws that swings around a mean, and the integral of that."""
    t_s = time.monotonic()
    watts, joules = MEAN_W + SWING_W * math.sin(t_s), MEAN_W * t_s - SWING_W * math.cos(t_s)
    return {"PowerWatts": {"Reading": watts}, "EnergyJoules": {"Reading": joules}}


@pytest.fixture
def bmc(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    monkeypatch.setenv("BMC_USER", USER)
    monkeypatch.setenv("BMC_PASSWORD", PASSWORD)
    with meter_serving(server_with_environment() | {METRICS: metrics}, login=(USER, PASSWORD)) as meter:
        yield meter


@pytest.fixture
def run(bench: Callable[..., Any], bmc: Meter, tmp_path: Path) -> Callable[[], dict[str, Any]]:
    def ran() -> dict[str, Any]:
        (tmp_path / "suite.yaml").write_text(SUITE.replace("URL", bmc.url))
        done = bench("run", tmp_path / "suite.yaml", "--out", tmp_path / "runs", "--json")
        assert "Traceback" not in done.err
        assert PASSWORD not in done.out + done.err
        for file in (tmp_path / "runs").rglob("*.*"):
            assert PASSWORD.encode() not in file.read_bytes()
            assert json.dumps(PASSWORD).encode() not in file.read_bytes()
        (record,) = done.json["records"]
        return dict(record)

    return ran


def test_the_joules_of_a_node_are_what_its_controller_tells(
    run: Callable[[], dict[str, Any]], bench: Callable[..., Any], tmp_path: Path
) -> None:
    record = run()
    rung = record["energy"]["rungs"]["node"]
    assert rung["reason"] is None
    assert rung["source"] in ("counter", "integral")
    assert rung["devices"] == ["bmc0-1"]
    assert rung["mean_watts"] == pytest.approx(MEAN_W, rel=0.01)
    assert rung["joules_per_output_token"]["basis"] == "measured"
    power = record["node"]["power"]
    assert power["sensors"]["bmc0-1"] == "Redfish EnvironmentMetrics PowerWatts and EnergyJoules"
    assert power["faults"] == {}
    assert record["case"]["spec"]["power"]["redfish"][0]["password_env"] == "BMC_PASSWORD"
    assert bench("verify", tmp_path / "runs").code == 0


@pytest.mark.slow
def test_a_controller_that_hangs_in_mid_run_costs_its_rung_and_nothing_else(
    run: Callable[[], dict[str, Any]], bmc: Meter
) -> None:
    asked = 0

    def hang_at_last() -> Any:
        nonlocal asked
        asked += 1
        return metrics() if asked < 6 else Answer(hangs=True)

    bmc.tells[METRICS] = hang_at_last
    record = run()
    assert record["requests"]["completed"] == record["requests"]["sent"] == 32
    rung = record["energy"]["rungs"]["node"]
    assert rung["joules"] is None
    assert rung["reason"]
    (fault, *_) = record["node"]["power"]["faults"]["bmc0-1"]
    assert fault["code"] == "timeout"


@pytest.mark.slow
def test_a_machine_whose_meters_hang_when_they_are_opened_is_run_without(
    bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(recording, "open_sensors", lambda *_, **__: over.wait(60))
    monkeypatch.setattr(recording, "_LONGEST_OPENING_S", 0.5)
    suite = SUITE[: SUITE.index("    power:")].replace("sessions: 32", "sessions: 8")
    (tmp_path / "suite.yaml").write_text(suite)
    done = bench("run", tmp_path / "suite.yaml", "--out", tmp_path / "runs", "--json")
    over.set()
    (record,) = done.json["records"]
    assert record["requests"]["completed"] == 8
    reason = "something that was asked hangs: 0.5 s were not enough to open it all"
    assert record["energy"]["missing"] == reason
    assert record["node"]["power"]["missing"] == dict.fromkeys(SCOPES, reason)


def test_a_login_that_is_not_set_is_refused_before_anything_runs(
    bench: Callable[..., Any], bmc: Meter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BMC_PASSWORD")
    (tmp_path / "suite.yaml").write_text(SUITE.replace("URL", bmc.url))
    done = bench("run", tmp_path / "suite.yaml", "--out", tmp_path / "runs")
    assert done.code == 2
    assert "power.redfish.password_env: the environment variable 'BMC_PASSWORD' is not set" in done.err
    assert not (tmp_path / "runs").exists()
    assert bmc.asked == []
