"""A model's shape measured without its weights, from a folder that holds a config and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.suite import load_suite
from bench.run import prepare

SHAPE = {
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 65536,
}


@pytest.fixture
def random_suite(suite: Path, tmp_path: Path) -> Path:
    """The small suite's pinned spec on made-up weights."""
    shape = tmp_path / "shape"
    shape.mkdir()
    (shape / "config.json").write_text(json.dumps(SHAPE))
    head, specs = suite.read_text().split("specs:")
    pinned = specs[specs.index("  - name: acting") : specs.index("trace:")]
    path = tmp_path / "random.yaml"
    path.write_text(head.replace("{path: tiny}", f"{{path: {shape}, weights: random}}") + "specs:\n" + pinned)
    return path


def test_a_shape_is_measured_and_ranked_on_speed_only(
    bench: Callable[..., Any], random_suite: Path, offer_of: Callable[..., Path], tmp_path: Path
) -> None:
    ran = bench("run", random_suite, "--out", tmp_path / "runs", "--json", "--set", "workload.sessions=3")
    (record,) = ran.json["records"]
    assert ran.code == 0, ran.err
    assert record["accuracy"]["status"] == "not_applicable"
    assert record["accuracy"]["reason"] == "random weights"
    assert record["engine"]["weights"] == "random"
    assert record["requests"]["failed"] == {}
    assert bench("verify", tmp_path / "runs").code == 0
    compared = bench("compare", tmp_path / "runs", "--offers", offer_of(record), "--json").json
    (decided,) = compared["decision"]["by_key"]
    assert decided["decision"]["offer"] == "this-machine"
    assert decided["decision"]["banner"].startswith("speed only")


def test_the_seed_is_part_of_the_case(random_suite: Path) -> None:
    ids = [prepare(load_suite(str(random_suite), sets=(f"model.seed={seed}",)).specs[0]).case.id for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]


def test_answers_of_free_length_are_refused_without_a_tokenizer(
    bench: Callable[..., Any], random_suite: Path, tmp_path: Path
) -> None:
    ran = bench("run", random_suite, "--out", tmp_path / "runs", "--set", "workload.length_mode=free")
    assert ran.code == 2
    told = ran.err.strip().splitlines()[-1]
    assert told.endswith("no tokenizer.json (allowed: one, or a workload with length_mode: pinned)")
    assert not list((tmp_path / "runs").glob("*/record.json"))
