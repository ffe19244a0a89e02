"""One engine in process and behind its server: what lies between the two is the server's, as far as it is not ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from mock_serving import serving
from serving import bench_serve

from bench.engine.mock_server.settings import MockServerSettings

TTFT_MS, ADDED_MS = 10.0, 40.0
MOCK = {"kind": "mock", "ttft_ms": TTFT_MS, "tpot_ms": 1.0}
NATIVE = {"threads": 1, "check_accuracy": False, "kv_cache_tokens": 16384, "max_running": 4}


@pytest.fixture
def run_both(bench: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """Asks an engine in process and the server at a URL the same; returns the folder of both results."""

    def run(engine: Mapping[str, Any], url: str) -> Path:
        suite, out = tmp_path / "both.yaml", tmp_path / "runs"
        document = {
            "base": {
                "model": {"path": "tiny"},
                "workload": {"kind": "reasoning", "sessions": 48, "token_scale": 0.01},
                "load": {"kind": "closed", "concurrency": 4},
                "measure": {"percentiles": [0.5, 0.9], "warmup_sessions": 1},
            },
            "specs": [
                {"name": "in-process", "engine": dict(engine)},
                {"name": "served", "engine": {"kind": "endpoint", "base_url": url}},
            ],
        }
        suite.write_text(yaml.safe_dump(document))
        ran = bench("run", suite, "--out", out)
        assert ran.code == 0, ran.out + ran.err
        return out

    return run


def test_what_a_server_adds_is_the_servers(bench: Callable[..., Any], run_both: Callable[..., Path]) -> None:
    with serving(MockServerSettings(ttft_ms=TTFT_MS + ADDED_MS, gap_ms=1.0)) as url:
        out = run_both(MOCK, url)
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


@pytest.mark.slow
def test_our_own_server_is_held_against_our_engine(bench: Callable[..., Any], run_both: Callable[..., Path]) -> None:
    with bench_serve("--model", "tiny", *(f"--set={name}={value}" for name, value in NATIVE.items())) as served:
        out = run_both({"kind": "native", **NATIVE}, served.url)
    (gap,) = bench("compare", out, "--json").json["decomposition"]["gaps"]
    assert (gap["base"]["engine"], gap["serves"]) == ("native", "native")
    assert gap["base"]["harness_ms"]["p50"]["value"] > 0
    assert gap["target"]["round_trip_ms"]["p50"]["n"] == 60
    for name, sources in {
        "ttft_ms": [["harness"], ["server"], ["network"]],
        "itl_ms": [["harness"], ["server"]],
    }.items():
        for of in gap["latencies"][name].values():
            assert [part["of"] for part in of["parts"]] == sources
            assert sum(part["ms"]["value"] for part in of["parts"]) == pytest.approx(of["gap_ms"]["value"], abs=1e-9)
