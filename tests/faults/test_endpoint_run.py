"""A run against a server that fails ends, keeps its record, and tells the key to nobody."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from mock_serving import AT_ONCE, serving

from bench.engine.mock_server.faults import parse_rule
from bench.engine.mock_server.settings import MockServerSettings

KEY = "sk-a-very-secret-key"
FAILS = {"http_500", "truncated"}


@pytest.fixture
def suite_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A small suite that asks the server at a URL with a key."""
    monkeypatch.setenv("ENDPOINT_TEST_KEY", KEY)

    def write(url: str, **engine: Any) -> Path:
        spec = {
            "name": "asked",
            "model": {"path": "tiny"},
            "engine": {"kind": "endpoint", "base_url": url, "api_key_env": "ENDPOINT_TEST_KEY", **engine},
            "workload": {"kind": "fixed", "prompt_tokens": 8, "output_tokens": 4, "sessions": 24},
            "load": {"kind": "closed", "concurrency": 4},
            "measure": {"percentiles": [0.5], "warmup_sessions": 1},
        }
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump({"suite": "asked", "specs": [spec]}))
        return path

    return write


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_turns_that_a_stall_holds_up_have_waited_since_they_were_due(
    suite_for: Callable[..., Path], bench: Callable[..., Any], tmp_path: Path
) -> None:
    faults = (parse_rule("stall:every=10", "--fault"),)
    with serving(MockServerSettings(**AT_ONCE, api_key=KEY, faults=faults)) as url:
        arrivals = ("load.kind=constant", "load.sessions_per_s=100", "load.max_sessions=1")
        settings = [part for one in arrivals for part in ("--set", one)]
        suite = suite_for(url, stall_timeout_s=0.3)
        ran = bench("run", suite, *settings, "--out", tmp_path / "runs", "--json")
    turns = pd.read_parquet(Path(ran.json["folders"][0]) / "turns.parquet")
    turns = turns[~turns.warmup].sort_values("t_due_ns")
    assert (turns.t_due_ns.diff().dropna() == 10_000_000).all()
    stalled = turns[turns.error.fillna("").str.startswith("stalled")]
    assert len(stalled) == 2
    for stall in stalled.itertuples():
        behind = turns[(turns.t_due_ns > stall.t_due_ns) & (turns.t_due_ns < stall.t_done_ns)]
        assert len(behind)
        assert (behind.t_first_ns.dropna() > stall.t_done_ns).all()
        assert (behind.t_due_ns + behind.hold_ns >= stall.t_done_ns).all()


@pytest.mark.parametrize("processes", [1, 2])
def test_failed_turns_are_counted_and_the_key_is_nowhere(
    processes: int, suite_for: Callable[..., Path], bench: Callable[..., Any], tmp_path: Path
) -> None:
    faults = tuple(parse_rule(rule, "--fault") for rule in ("500:every=5", "truncated:every=7", "no_usage:every=3"))
    with serving(MockServerSettings(**AT_ONCE, api_key=KEY, faults=faults)) as url:
        ran = bench("run", suite_for(url, processes=processes), "--out", tmp_path / "runs")
    assert ran.code in (0, 1)
    (result,) = (tmp_path / "runs").iterdir()
    record = json.loads((result / "record.json").read_text())
    requests = record["requests"]
    (reason,) = (reason for reason in record["verdict"]["reasons"] if reason["code"] == "failures")
    assert any(f" requests failed, the first in the log with {kind}: " in reason["message"] for kind in FAILS)
    assert requests["sent"] == 24
    assert set(requests["failed"]) == FAILS
    assert requests["completed"] == 24 - sum(requests["failed"].values())
    assert requests["notes"]["no_usage"] > 0
    assert KEY.encode() not in all_bytes(tmp_path / "runs")
    assert KEY not in ran.out + ran.err


def test_a_key_that_is_refused_is_told_in_one_line_without_it(
    suite_for: Callable[..., Path], bench: Callable[..., Any], tmp_path: Path
) -> None:
    with serving(MockServerSettings(**AT_ONCE, api_key="another")) as url:
        ran = bench("run", suite_for(url), "--out", tmp_path / "runs")
    assert ran.code == 2
    assert "engine.api_key_env: " in ran.err
    assert "answers 401: the key is wrong" in ran.err
    assert KEY not in ran.out + ran.err
    assert not list(tmp_path.glob("runs/*"))


def test_the_time_of_day_may_jump(
    suite_for: Callable[..., Path],
    bench: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall = time.time
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: wall() + (-1) ** next(jumps) * 86_400.0)
    with serving(MockServerSettings(ttft_ms=2, gap_ms=1)) as url:
        ran = bench("run", suite_for(url), "--out", tmp_path / "runs")
    assert ran.code == 0
    (result,) = (tmp_path / "runs").iterdir()
    record = json.loads((result / "record.json").read_text())
    assert record["requests"]["completed"] == 24
    assert 2 <= record["latency"]["ttft_ms"]["p50"]["value"] < 1000
