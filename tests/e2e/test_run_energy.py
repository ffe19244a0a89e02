"""A whole run beside a meter: the ladder above it, energy above idle, and all of it again from the tables."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from meter_serving import PASSWORD, USER, Meter, meter_serving
from redfish_trees import CHASSIS, server_with_environment

MEAN_W, SWING_W = 5000.0, 20.0
SUITE = """
specs:
  - name: metered
    model: {path: tiny}
    engine: {kind: mock, ttft_ms: 10, tpot_ms: 5}
    workload: {kind: fixed, sessions: 40, prompt_tokens: 16, output_tokens: 80}
    load: {kind: closed, concurrency: 4}
    measure: {percentiles: [0.5], warmup_sessions: 1}
    power:
      redfish: {url: "URL", user_env: BMC_USER, password_env: BMC_PASSWORD, interval_s: 0.2, timeout_s: 0.5}
      idle_s: 1
      pue: 1.25
"""


def watts() -> dict[str, Any]:
    """A power that is never quite the same, and no counter."""
    return {"PowerWatts": {"Reading": MEAN_W + SWING_W * math.sin(time.monotonic())}}


@pytest.fixture
def bmc(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    monkeypatch.setenv("BMC_USER", USER)
    monkeypatch.setenv("BMC_PASSWORD", PASSWORD)
    metrics = {f"{CHASSIS}/1/EnvironmentMetrics": watts}
    with meter_serving(server_with_environment() | metrics, login=(USER, PASSWORD)) as meter:
        yield meter


@pytest.mark.slow
def test_a_run_climbs_the_ladder_and_verifies(bench: Callable[..., Any], bmc: Meter, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE.replace("URL", bmc.url))
    out = tmp_path / "runs"
    (record,) = bench("run", tmp_path / "suite.yaml", "--out", out, "--json").json["records"]
    energy = record["energy"]
    node, facility = energy["rungs"]["node"], energy["rungs"]["facility"]
    assert node["reason"] is None
    assert (node["source"], node["joules_per_output_token"]["basis"]) == ("integral", "measured")
    assert facility["joules"] == pytest.approx(1.25 * node["joules"])
    assert (facility["source"], facility["joules_per_output_token"]["basis"]) == ("modelled", "projected")
    assert set(energy["rungs"]) == {"node", "facility"}
    assert "not modelled: no accelerator was used" in energy["absent"]["rack"]
    idle = node["above_idle"]
    assert idle["idle_watts"] == pytest.approx(MEAN_W, abs=SWING_W)
    seconds = record["window"]["steady"]["seconds"]
    assert idle["joules"] == pytest.approx(node["joules"] - idle["idle_watts"] * seconds)
    assert energy["phases"]["node"]["reason"] == "the engine logs no steps"
    assert bench("verify", out).code == 0
    shown = bench("compare", out).out
    assert "modelled (projected)" in shown
    assert "facility is modelled: node · declared PUE of 1.25" in shown
    assert "phases of node: not told apart: the engine logs no steps" in shown


def test_nothing_idles_where_nothing_can_be_read(bench: Callable[..., Any], tmp_path: Path) -> None:
    suite = SUITE.replace("sessions: 40", "sessions: 8").replace("idle_s: 1", "idle_s: 500")
    lines = [line for line in suite.splitlines() if "redfish" not in line]
    (tmp_path / "suite.yaml").write_text("\n".join(lines))
    (record,) = bench("run", tmp_path / "suite.yaml", "--out", tmp_path / "runs", "--json").json["records"]
    assert record["energy"]["rungs"] == {}
    assert record["energy"]["missing"]
    assert record["energy"]["absent"]["facility"].endswith("neither rack nor node is known")
    assert record["run"]["power"]["idle"] is None
