"""Suites that name a preset run as they are, on a server that is as strict as the preset's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mock_serving import serving, truth

from bench.engine.mock_server.settings import MockServerSettings

FREE = {"kind": "reasoning", "sessions": 4, "length_mode": "free", "token_scale": 0.02, "effort": {"low": 1}}
PINNED = {"kind": "agentic", "sessions": 2, "token_scale": 0.01, "max_turns_per_session": 3}


def suite(url: str, workload: dict[str, Any], **engine: Any) -> str:
    spec = {
        "name": "asked",
        "model": {"path": "tiny"},
        "engine": {"kind": "endpoint", "base_url": url, **engine},
        "workload": workload,
        "load": {"kind": "closed", "concurrency": 1, "time_scale": 0},
        "measure": {"percentiles": [0.5], "warmup_sessions": 0},
    }
    return yaml.safe_dump({"suite": "asked", "specs": [spec]})


@pytest.mark.parametrize(
    ("preset", "workload", "strict"),
    [("sglang", PINNED, False), ("sglang", FREE, False), ("vllm", PINNED, False), ("openai", FREE, True)],
)
def test_a_preset_is_all_that_a_suite_says(
    bench: Callable[..., Any], tmp_path: Path, preset: str, workload: dict[str, Any], strict: bool
) -> None:
    file = tmp_path / "suite.yaml"
    with serving(MockServerSettings(ttft_ms=1, gap_ms=0.1, thinking_share=0.25, strict=strict)) as url:
        file.write_text(suite(url, workload))
        ran = bench("run", file, "--out", tmp_path / "runs", "--json", "--set", f"engine.preset={preset}")
        assert ran.code in (0, 1), ran.err
        known = truth(url)
    (record,) = ran.json["records"]
    assert record["requests"]["failed"] == {}
    assert record["requests"]["completed"] == len(known)
    engine = record["case"]["spec"]["engine"]
    assert engine["preset"] == preset
    assert engine["max_tokens_field"] == ("max_completion_tokens" if preset == "openai" else "max_tokens")
    assert record["engine"]["answered_models"] == {"mock": len(known)}


def test_what_a_strict_server_does_not_know_is_a_failure_of_each_turn(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "suite.yaml"
    with serving(MockServerSettings(ttft_ms=1, gap_ms=0.1, strict=True)) as url:
        file.write_text(suite(url, {**FREE, "sessions": 1}, preset="openai", extra_body={"top_k": 4}))
        ran = bench("run", file, "--out", tmp_path / "runs", "--json")
    assert ran.code == 1
    assert ran.json["records"][0]["requests"]["failed"] == {"http_400": 1}
