"""Every axis of the native engine by `--set`: each value runs and says what it did, and a wrong one is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from bench.core.spec import NativeEngineSpec

SUITE = """
specs:
  - name: case
    model: {path: tiny}
    engine: {device: cpu, threads: 1, max_running: 4, step_tokens: 64, kv_cache_tokens: 2048, check_accuracy: false}
    workload: {kind: fixed, sessions: 6, prompt_tokens: 48, output_tokens: 8, shared_prefix_tokens: 32}
    load: {kind: closed, concurrency: 4}
    measure: {percentiles: [0.5], warmup_sessions: 1}
"""

RUNS: dict[str, dict[str, Any]] = {
    "plain": {
        "device": "auto",
        "dtype": "auto",
        "weight_format": "dense",
        "kv_dtype": "auto",
        "numerics": "fast",
        "policy": "static",
        "admission": "worst_case",
        "prefix_cache": False,
        "graph_mode": "none",
        "graph_sizes": "pow2",
        "overlap": False,
        "speculation": None,
        "check_accuracy": False,
    },
    "checked": {
        "dtype": "float32",
        "weight_format": "int8",
        "kv_dtype": "float32",
        "numerics": "batch_invariant",
        "threads": 2,
        "policy": "prefill_first",
        "prefix_cache": True,
        "graph_mode": "decode_full",
        "graph_sizes": "exact",
        "check_accuracy": True,
    },
    "overlapping": {
        "policy": "decode_first",
        "admission": "optimistic",
        "block_tokens": 8,
        "kv_cache_tokens": 104,  # two prompts and a block: one of both answers does not fit
        "prefix_cache": False,
        "weight_format": "fp8",
        "kv_dtype": "bfloat16",
        "kernels": {"all": "reference", "silu_mul_fp8": "c"},
        "graph_mode": "full",
        "graph_sizes": "vllm",
        "overlap": True,
        "tensor_parallel": 2,
    },
    "drafting": {
        "dtype": "bfloat16",
        "weight_format": "mxfp4",
        "kv_dtype": "fp8",
        "policy": "latency_budget",
        "tpot_target_ms": 5,
        "graph_mode": "piecewise",
        "graph_max_tokens": 32,
        "overlap": True,
        "speculation": {"kind": "draft_model", "model": "tiny", "tokens": 2},
    },
    "looking-up": {
        "device": "cpu",
        "dtype": "float16",
        "weight_format": "nvfp4",
        "kv_dtype": "float16",
        "max_running": 1,
        "step_tokens": 16,
        "kv_cache_tokens": None,
        "kv_memory_share": 0.01,
        "graph_mode": "full_and_piecewise",
        "speculation": {"kind": "ngram", "tokens": 3, "match_tokens": 2},
    },
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture
def measured(bench: Callable[..., Any], small: Path, tmp_path: Path) -> Callable[..., Any]:
    """The record of a run with these engine settings, in which nothing failed."""

    def run(settings: dict[str, Any]) -> Any:
        sets = [f"engine.{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in settings.items()]
        ran = bench("run", small, "--out", tmp_path, "--json", *(part for one in sets for part in ("--set", one)))
        assert ran.code in (0, 1), ran.err  # a busy machine may be too slow for a verdict, never for an answer
        (record,) = ran.json["records"]
        assert record["requests"]["failed"] == {}
        assert record["requests"]["completed"] == 6
        assert record["requests"]["tokens"]["output"] == 6 * 8
        asked = record["case"]["spec"]["engine"]
        assert {key: asked[key] for key in settings} == settings
        return record

    return run


def test_every_named_value_of_every_axis_is_run_here() -> None:
    for name, field in NativeEngineSpec.model_fields.items():
        named = {value for value in get_args(field.annotation) if isinstance(value, str)}
        named |= {True, False} if field.annotation is bool else set()
        missing = {value for value in named if value not in [run.get(name) for run in RUNS.values()]}
        assert missing <= {"native", "cuda"}, name  # the one kind, and a device that not every machine has


def test_a_plain_engine_does_none_of_it(measured: Callable[..., Any]) -> None:
    engine = measured(RUNS["plain"])["engine"]
    assert engine["did"]["scheduler"]["hit_tokens"] == engine["did"]["graphs"]["graphs"] == 0
    assert engine["did"]["speculation"] is None
    assert engine["downgrades"] == engine["did"]["graphs"]["downgrades"] == []


def test_a_checked_engine_says_how_near_its_reference_it_is(measured: Callable[..., Any]) -> None:
    record = measured(RUNS["checked"])
    assert record["accuracy"]["status"] == "passed"
    assert record["accuracy"]["precision"] == "int8"
    engine = record["engine"]
    assert (engine["weight_format"], engine["numerics"], engine["threads"]) == ("int8", "batch_invariant", 2)
    assert engine["did"]["scheduler"]["hit_tokens"] > 0


def test_an_overlapping_engine_with_a_small_pool_preempts(measured: Callable[..., Any]) -> None:
    engine = measured(RUNS["overlapping"])["engine"]
    assert engine["overlap"]
    assert engine["tensor_parallel"]["ranks"] == 2
    assert engine["kv_dtype"] == "bfloat16"
    assert engine["kv_pool"]["tokens"] == 104
    written_in = {kernel["operation"]: kernel["source"] for kernel in engine["kernels"]}
    assert written_in["rms_norm"] == written_in["paged_attention"] == "reference"
    assert engine["did"]["schedules"] == []  # of Triton's kernels, which a CPU has none of
    assert engine["did"]["scheduler"]["preemptions"] > 0
    assert engine["did"]["scheduler"]["recomputed_tokens"] > 0


def test_a_drafting_engine_tells_what_became_of_drafts_and_of_overlap(measured: Callable[..., Any]) -> None:
    engine = measured(RUNS["drafting"])["engine"]
    drafted = engine["did"]["speculation"]
    assert 0 < drafted["accepted_tokens"] <= drafted["drafted_tokens"]
    assert not engine["overlap"]
    assert engine["downgrades"] == ["overlap: speculation has to know each token before it drafts"]
    assert engine["dtype"] == "bfloat16"


def test_a_cpu_says_which_graphs_would_have_run(measured: Callable[..., Any]) -> None:
    graphs = measured(RUNS["looking-up"])["engine"]["did"]["graphs"]
    assert (graphs["requested_mode"], graphs["mode"]) == ("full_and_piecewise", "none")
    assert graphs["downgrades"][-1]["reason"] == "a cpu has no graphs"
    assert graphs["share_of_steps"] == {"eager": 1.0}
    assert graphs["would_have_run"]["share_of_steps"].get("piecewise", 0) > 0


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ("device=tpu", "'auto', 'cpu' or 'cuda'"),
        ("dtype=float64", "'auto', 'float32', 'bfloat16' or 'float16'"),
        ("weight_format=int4", "'dense', 'int8', 'fp8', 'mxfp4' or 'nvfp4'"),
        ("kv_dtype=int8", "'auto', 'float32', 'bfloat16', 'float16' or 'fp8'"),
        ("numerics=exact", "'fast' or 'batch_invariant'"),
        ("threads=0", "greater than 0"),
        ("tensor_parallel=0", "greater than 0"),
        ("max_running=many", "integer"),
        ("step_tokens=-1", "greater than 0"),
        ("policy=fifo", "'static', 'prefill_first', 'decode_first' or 'latency_budget'"),
        ("tpot_target_ms=0", "greater than 0"),
        ("admission=eager", "'worst_case' or 'optimistic'"),
        ("prefix_cache=maybe", "boolean"),
        ("block_tokens=0", "greater than 0"),
        ("kv_cache_tokens=0", "greater than 0"),
        ("kv_memory_share=1", "less than 1"),
        ("graph_mode=all", "'none', 'decode_full', 'full', 'piecewise' or 'full_and_piecewise'"),
        ("graph_sizes=some", "'pow2', 'vllm' or 'exact'"),
        ("graph_max_tokens=0", "greater than 0"),
        ("overlap=2", "boolean"),
        ("speculation=ngram", "a mapping of keys to values"),
        ("speculation={kind: eagle}", "'ngram', 'draft_model'"),
        ("speculation={kind: ngram, tokens: 0}", "greater than 0"),
        ("check_accuracy=perhaps", "boolean"),
        ("kernels=triton", "a mapping of keys to values"),
        ("kernels={all: cuda}", "for all, one of reference, c, library, triton"),
    ],
)
def test_a_wrong_value_is_told_in_one_line(
    bench: Callable[..., Any], small: Path, tmp_path: Path, setting: str, allowed: str
) -> None:
    ran = bench("run", small, "--out", tmp_path / "runs", "--set", f"engine.{setting}")
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert f"engine.{setting.partition('=')[0]}" in line
    assert line.endswith(f"(allowed: {allowed})")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("tensor_parallel=3", "engine.tensor_parallel: "),
        ("speculation={kind: draft_model, model: qwen3-0.6b}", "model.safetensors: no such file"),
    ],
)
def test_what_only_the_engine_finds_is_told_in_one_line_too(
    bench: Callable[..., Any], small: Path, tmp_path: Path, setting: str, told: str
) -> None:
    ran = bench("run", small, "--out", tmp_path / "runs", "--set", f"engine.{setting}")
    assert (ran.code, ran.out) == (2, "")
    progress, line = ran.err.splitlines()
    assert progress == "case: starting the engine"
    assert told in line
    assert "(allowed: " in line
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("kernels.silu_mul=quick", "silu_mul = 'quick' (allowed: cpu, "),
        ("kernels.experts=loop", "the model does not call experts (allowed: all, embedding, "),
    ],
)
def test_kernels_that_the_model_has_not_are_refused_when_it_is_loaded(
    bench: Callable[..., Any], small: Path, tmp_path: Path, setting: str, told: str
) -> None:
    ran = bench("run", small, "--out", tmp_path / "runs", "--set", f"engine.{setting}")
    assert ran.code == 2
    assert f"bench: engine.kernels: {told}" in ran.err.splitlines()[-1]
