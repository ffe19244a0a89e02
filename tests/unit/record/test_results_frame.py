"""Records as a table, and what makes two of them comparable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.core.errors import InputError
from bench.core.records import TurnRow
from bench.core.spec import Case
from bench.metrics.context import RunContext
from bench.metrics.summary import summarise
from bench.results.comparability import comparability_key
from bench.results.result import Result
from bench.results.store import ResultWriter


@pytest.fixture
def write(
    tmp_path: Path, make_case: Callable[..., Case], closed_loop: Callable[..., list[TurnRow]]
) -> Callable[..., Result]:
    """Write a result of a healthy run; keywords override the case, `sections` the record."""

    def make(sections: dict[str, Any] | None = None, **overrides: Any) -> Result:
        rows = closed_loop()
        writer = ResultWriter(tmp_path / "runs", case=make_case(**overrides), node={}, provenance={}, workload={})
        writer.append_turns(rows)
        tables = writer.tables()
        context = RunContext(0, max(row.t_done_ns or 0 for row in rows), 0)
        summary = summarise(writer.record.case, context, turns=tables.turns, power=tables.power, steps=tables.steps)
        return writer.finish(writer.record.with_sections(**summary.sections(), **(sections or {})))

    return make


def test_one_row_a_record_with_units_in_the_columns(tmp_path: Path, write: Callable[..., Result]) -> None:
    first = write(name="one", power={"scope": "node", "watts": 200})
    write(name="two", measure={"percentiles": [0.5, 0.99]})
    frame = bench.load(tmp_path / "runs")
    assert list(frame["name"]) == ["one", "two"]
    assert list(frame["verdict"]) == ["valid", "invalid"]
    assert list(frame["reasons"]) == ["", "too_few_requests"]
    record = first.record
    assert record.latency is not None
    assert record.throughput is not None
    row = frame.iloc[0]
    assert row["ttft_ms_p50"] == record.latency["ttft_ms"]["p50"]["value"]
    assert row["ttft_ms_p50_low"] == record.latency["ttft_ms"]["p50"]["low"]
    assert row["output_tokens_per_s_high"] == record.throughput["output_tokens_per_s"]["high"]
    assert row["node_joules_per_output_token"] > 0
    assert row["sessions_time_busy_share"] > 0.5
    assert row["requests_sent"] == 64


def test_nothing_to_load_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no record"):
        bench.load(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "differs"),
    [
        ({"load": {"kind": "closed", "concurrency": 2}}, set()),
        ({"load": {"kind": "closed", "concurrency": 4, "time_scale": 0.5}}, {"time_scale"}),
        ({"workload": {"kind": "reasoning", "sessions": 9, "token_scale": 0.1}}, {"token_scale"}),
        ({"workload": {"kind": "reasoning", "sessions": 9, "idle_gap_cap_s": None}}, {"idle_gap_cap_s"}),
        ({"workload": {"kind": "reasoning", "sessions": 9, "length_mode": "free"}}, {"length_mode"}),
        ({"slo": {"ttft_ms": 100}}, {"slo"}),
        ({"engine": {"kind": "native", "dtype": "bfloat16"}}, {"precision"}),
        ({"sections": {"accuracy": {"status": "passed"}}}, {"accuracy"}),
    ],
)
def test_the_key_holds_what_must_agree(
    write: Callable[..., Result], overrides: dict[str, Any], differs: set[str]
) -> None:
    one, other = comparability_key(write().record), comparability_key(write(**overrides).record)
    assert {name for name in one if one[name] != other[name]} == differs


def test_precision_is_what_the_engine_did_and_not_what_was_asked(write: Callable[..., Result]) -> None:
    found = write(sections={"engine": {"dtype": "float32"}}, engine={"kind": "native", "dtype": "auto"})
    assert comparability_key(found.record)["precision"] == "float32"


@pytest.mark.parametrize(
    ("asked", "precision"),
    [
        ({"dtype": "bfloat16", "policy": "static"}, "bfloat16"),
        ({"dtype": "bfloat16", "weight_format": "int8"}, "bfloat16, int8 weights"),
        ({"dtype": "bfloat16", "kv_dtype": "fp8"}, "bfloat16, fp8 cache"),
    ],
)
def test_formats_of_weights_and_cache_are_part_of_the_precision(
    write: Callable[..., Result], asked: dict[str, Any], precision: str
) -> None:
    assert comparability_key(write(engine={"kind": "native", **asked}).record)["precision"] == precision


def test_activations_that_a_kernel_rounds_are_part_of_it_too(write: Callable[..., Result]) -> None:
    kernels = [{"operation": "linear", "activations": "mxfp8"}, {"operation": "rms_norm", "activations": None}]
    described = {"dtype": "bfloat16", "weight_format": "mxfp4", "kv_dtype": "bfloat16", "kernels": kernels}
    rounding = write(sections={"engine": described}, engine={"kind": "native"}).record
    assert comparability_key(rounding)["precision"] == "bfloat16, mxfp4 weights, mxfp8 activations"


def test_a_servers_precision_is_its_own(write: Callable[..., Result]) -> None:
    served = write(engine={"kind": "endpoint", "base_url": "http://127.0.0.1:1"}).record
    assert comparability_key(served)["precision"] == "the server's"
    assert comparability_key(write().record)["precision"] == "none"


@pytest.mark.parametrize("kind", ["vllm", "vllm-server"])
@pytest.mark.parametrize(
    ("arguments", "described", "precision"),
    [
        ({}, {"dtype": "bfloat16", "weight_format": "dense", "kv_dtype": "bfloat16"}, "bfloat16"),
        (
            {"dtype": "auto", "quantization": "fp8"},
            {"dtype": "bfloat16", "weight_format": "fp8", "kv_dtype": "float8_e4m3fn"},
            "bfloat16, fp8 weights, float8_e4m3fn cache",
        ),
        ({"dtype": "float16", "quantization": "awq"}, {}, "float16, awq weights"),
    ],
)
def test_vllms_precision_is_told_in_our_own_engines_words(
    write: Callable[..., Result], kind: str, arguments: dict[str, Any], described: dict[str, Any], precision: str
) -> None:
    result = write(sections={"engine": described}, engine={"kind": kind, "arguments": arguments})
    assert comparability_key(result.record)["precision"] == precision
