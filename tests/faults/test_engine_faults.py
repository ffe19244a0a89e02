"""What fails within an engine, through the command: the run goes on to its end, and its record says what failed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny"
SUITE = """
specs:
  - name: case
    model: {path: MODEL}
    engine: {device: cpu, threads: 1, max_running: 4, step_tokens: 64, kv_cache_tokens: 1024, overlap: true}
    workload: {kind: fixed, sessions: 4, prompt_tokens: 48, output_tokens: 8}
    load: {kind: closed, concurrency: 4}
    measure: {percentiles: [0.5], warmup_sessions: 1}
"""


@pytest.fixture
def failed(bench: Callable[..., Any], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The record of a run of which every request fails."""

    def run(model: Path, *settings: str) -> dict[str, Any]:
        (tmp_path / "suite.yaml").write_text(SUITE.replace("MODEL", str(model)))
        ran = bench("run", tmp_path / "suite.yaml", "--out", tmp_path / "runs", "--json", *settings)
        assert ran.code == 1
        assert "Traceback" not in ran.err
        (record,) = ran.json["records"]
        assert (record["requests"]["sent"], record["requests"]["completed"]) == (4, 0)
        return dict(record)

    return run


def reasons(record: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in record["verdict"]["reasons"]]


def test_logits_that_are_not_numbers(failed: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights["model.norm.weight"][3] = math.nan
    save_file(weights, tmp_path / "model" / "model.safetensors")
    record = failed(tmp_path / "model")
    assert record["accuracy"]["status"] == "failed"
    assert {"accuracy", "failures"} <= set(reasons(record))
    assert record["requests"]["failed"] == {"not_a_number": 4}


def test_a_pool_too_small_for_one_request(failed: Callable[..., dict[str, Any]]) -> None:
    optimistic = ("--set", "engine.admission=optimistic", "--set", "engine.check_accuracy=false")
    record = failed(TINY, "--set", "engine.kv_cache_tokens=32", *optimistic)
    assert record["accuracy"]["status"] == "not_applicable"
    assert "failures" in reasons(record)
    assert record["requests"]["failed"] == {"kv_pool_exceeded": 4}
