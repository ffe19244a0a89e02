"""A server that tells log probabilities is held to the weights it is said to serve, where a suite asks for that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mock_serving import serving
from safetensors.torch import load_file, save_file
from serving import SMALL, TINY, bench_serve

from bench.core.configs import config_root
from bench.engine.mock_server.settings import MockServerSettings

CHECKED = {"check_accuracy": True, "max_logprobs": 20, "logprobs_body": {"return_tokens_as_token_ids": True}}


@pytest.fixture
def record(bench: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """The record of one small case."""

    def run(url: str, **engine: Any) -> Any:
        spec = {
            "name": "served",
            "model": {"path": "tiny"},
            "engine": {"kind": "endpoint", "base_url": url, **engine},
            "workload": {"kind": "reasoning", "sessions": 5, "length_mode": "free", "token_scale": 0.02},
            "load": {"kind": "closed", "concurrency": 1},
            "measure": {"percentiles": [0.5], "warmup_sessions": 0},
        }
        suite = tmp_path / "served.yaml"
        suite.write_text(yaml.safe_dump({"suite": "served", "specs": [spec]}))
        ran = bench("run", suite, "--out", tmp_path / "runs", "--json")
        assert ran.code in (0, 1), ran.err
        return ran.json["records"][0]

    return run


@pytest.mark.slow
def test_our_server_passes_with_figures_of_its_precision(record: Callable[..., Any]) -> None:
    with bench_serve(*TINY, "--set", "dtype=bfloat16") as served:
        told = record(served.url, **CHECKED)
    accuracy = told["accuracy"]
    assert accuracy["status"] == "passed"
    assert accuracy["figures"]["tokens"] == 4 * 64
    assert 1e-6 < accuracy["figures"]["kl_mean"] < 0.02
    assert told["startup"]["accuracy_s"] > 0
    assert told["requests"]["sent"] == 5


@pytest.mark.slow
def test_a_server_of_other_weights_is_invalid(record: Callable[..., Any], tmp_path: Path) -> None:
    folder = shutil.copytree(config_root() / "models" / "tiny", tmp_path / "tiny")
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    save_file({**weights, name: weights[name].roll(1, 0)}, folder / "model.safetensors")
    with bench_serve("--model", folder, *SMALL) as served:
        told = record(served.url, **CHECKED)
    assert told["accuracy"]["status"] == "failed"
    assert "top-1 agreement" in told["accuracy"]["reason"]
    assert told["verdict"]["status"] == "invalid"
    assert "accuracy" in [reason["code"] for reason in told["verdict"]["reasons"]]


def test_a_server_that_tells_tokens_by_their_text_is_not_checked_and_says_so(record: Callable[..., Any]) -> None:
    with serving(MockServerSettings(ttft_ms=0, gap_ms=0)) as url:
        told, unasked = record(url, **CHECKED), record(url)
    assert [one["accuracy"]["status"] for one in (told, unasked)] == ["not_applicable"] * 2
    assert told["accuracy"]["reason"] == "tokens came by their text, not by id"
    assert unasked["accuracy"]["reason"] == "engine.check_accuracy is off"
    assert told["requests"]["sent"] == unasked["requests"]["sent"] == 5
