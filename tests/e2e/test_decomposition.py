"""An engine of declared speed, in process and behind HTTP: what its server was told to add is the server's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mock_serving import serving

from bench.engine.mock_server.settings import MockServerSettings

TTFT_MS, ADDED_MS = 10.0, 40.0
ENGINE = {"kind": "mock", "ttft_ms": TTFT_MS, "tpot_ms": 1.0}


def test_what_a_server_adds_is_the_servers(bench: Callable[..., Any], tmp_path: Path) -> None:
    suite, out = tmp_path / "served.yaml", tmp_path / "runs"
    with serving(MockServerSettings(ttft_ms=TTFT_MS + ADDED_MS, gap_ms=1.0)) as url:
        document = {
            "base": {
                "model": {"path": "tiny"},
                "workload": {"kind": "reasoning", "sessions": 60, "token_scale": 0.01},
                "load": {"kind": "closed", "concurrency": 4},
                "measure": {"percentiles": [0.5, 0.9], "warmup_sessions": 1},
            },
            "specs": [
                {"name": "in-process", "engine": ENGINE},
                {"name": "served", "engine": {"kind": "endpoint", "base_url": url}},
            ],
        }
        suite.write_text(yaml.safe_dump(document))
        ran = bench("run", suite, "--out", out)
        assert ran.code == 0, ran.out + ran.err
    compared = bench("compare", out, "--json").json["decomposition"]
    (gap,) = compared["gaps"]
    assert compared["left_out"] == []
    assert (gap["base"]["case"], gap["twin"]["case"], gap["target"]["case"]) == ("in-process", "in-process", "served")
    assert gap["serves"] == "mock"
    of = gap["latencies"]["ttft_ms"]["p50"]
    server, network = of["parts"]
    assert (server["of"], network["of"]) == (["server", "harness"], ["network"])
    # Both wait for the same clock, so half of what was added is a machine in great trouble.
    assert server["distinct"]
    assert server["ms"]["value"] == pytest.approx(ADDED_MS, rel=0.5)
    assert 0 < network["ms"]["value"] < ADDED_MS
    assert server["ms"]["value"] + network["ms"]["value"] == pytest.approx(of["gap_ms"]["value"], rel=1e-12)
    assert [part["of"] for part in gap["latencies"]["tpot_ms"]["p50"]["parts"]] == [["server", "harness"]]
    shown = bench("compare", out).out
    assert "in-process (mock) to served (endpoint, which serves mock), milliseconds" in shown
    assert bench("compare", out, "--json").json["decomposition"] == compared
