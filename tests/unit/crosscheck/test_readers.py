"""What other clients write, in small files of the same form, read as exchanges and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from client_aiperf import read_aiperf
from client_vllm import read_vllm
from clients import ClientError
from definitions import AIPERF, METRICS, VLLM, measure
from exchanges import Habits
from servers import ServerError, exchange_of, habits_of
from versions import installed_version

from bench.core.load_spec import ClosedLoadSpec

LOAD = ClosedLoadSpec(kind="closed", concurrency=2)
STATISTICS = {"mean": "mean", "p50": "p50", "p90": "p90", "p99": "p99"}


def vllm_result(**other: Any) -> dict[str, Any]:
    """Two chats of two tokens: a role, the tokens, and a chunk with the finish reason; the later one stands first."""
    times = {f"{how}_{time}": 0.0 for how in STATISTICS for time in ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms")}
    return {
        **times,
        "failed": 0,
        "num_prompts": 2,
        "duration": 0.5,
        "output_throughput": 8.0,
        "request_throughput": 4.0,
        "total_input_tokens": 12,
        "total_output_tokens": 4,
        "input_lens": [6, 6],
        "output_lens": [2, 2],
        "start_times": [100.2, 100.1],
        "ttfts": [0.001, 0.002],
        "itls": [[0.05, 0.01, 0.0], [0.04, 0.02, 0.0]],
        **other,
    }


def test_vllms_chunks_are_told_apart_by_the_servers_habits(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(vllm_result(mean_e2el_ms=61.5, p50_ttft_ms=1.5)))
    seen = read_vllm(path, Habits(opens=True, closes=True))
    first, second = seen.exchanges
    assert (first.sent_ns, second.sent_ns) == (100.1e9, 100.2e9)
    assert [round((t_ns - first.sent_ns) / 1e6, 3) for t_ns in first.token_ns] == [42, 62]
    assert first.opened_ns == pytest.approx(100.102e9)
    assert first.closed_ns == pytest.approx(100.162e9)
    assert set(seen.reported) == set(METRICS)
    by_its = measure(seen.exchanges, VLLM, LOAD, seen.seconds)
    for metric in ("e2e_ms mean", "ttft_ms p50", "output_tokens_per_s", "requests_per_s", "prompt_tokens"):
        assert by_its[metric] == pytest.approx(seen.reported[metric], abs=1e-3)


def test_vllms_failed_requests_are_no_figures(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(vllm_result(failed=1)))
    with pytest.raises(ClientError, match="1 of 2 requests failed"):
        read_vllm(path, Habits(opens=False, closes=False))


def aiperf_record(start_ns: int, phase: str = "profiling", **other: Any) -> dict[str, Any]:
    values = {"time_to_first_token": 20.0, "inter_chunk_latency": [5.0, 7.0]}
    values |= {"input_sequence_length": 6, "output_sequence_length": 3}
    return {
        "metadata": {"request_start_ns": start_ns, "benchmark_phase": phase},
        "metrics": {name: {"value": value} for name, value in values.items()},
        **other,
    }


def write_aiperf(folder: Path, *records: dict[str, Any]) -> None:
    times = ("time_to_first_token", "inter_token_latency", "inter_chunk_latency", "request_latency")
    told = dict.fromkeys(("avg", "p50", "p90", "p99"), 6.0)
    counts = {"output_token_throughput": 60.0, "request_throughput": 20.0, "total_isl": 12.0, "total_osl": 6.0}
    summary = dict.fromkeys(times, told) | {name: {"avg": value} for name, value in counts.items()}
    summary |= {"start_time": "2026-11-23T07:00:00.000000", "end_time": "2026-11-23T07:00:00.100000"}
    (folder / "profile_export_aiperf.json").write_text(json.dumps(summary))
    (folder / "profile_export.jsonl").write_text("\n".join(map(json.dumps, records)))


def test_aiperfs_records_are_read_without_its_warm_up(tmp_path: Path) -> None:
    start_ns = 1_795_416_611_000_000_000
    write_aiperf(tmp_path, aiperf_record(start_ns - 9, "warmup"), aiperf_record(start_ns + 10), aiperf_record(start_ns))
    seen = read_aiperf(tmp_path)
    assert [one.sent_ns - start_ns for one in seen.exchanges] == [0, pytest.approx(10, abs=256)]
    by_its = measure(seen.exchanges, AIPERF, LOAD, seen.seconds)
    assert seen.seconds == pytest.approx(0.1)
    assert by_its["itl_ms mean"] == pytest.approx(seen.reported["itl_ms mean"], abs=1e-3)
    for metric in ("output_tokens_per_s", "requests_per_s", "output_tokens", "prompt_tokens"):
        assert by_its[metric] == pytest.approx(seen.reported[metric])


def test_aiperfs_failed_requests_are_no_figures(tmp_path: Path) -> None:
    write_aiperf(tmp_path, aiperf_record(1, error={"code": 500}))
    with pytest.raises(ClientError, match="1 of 1 requests failed"):
        read_aiperf(tmp_path)


def event(**choice: Any) -> dict[str, Any]:
    return {"choices": [choice]}


def test_habits_are_what_stands_around_the_tokens() -> None:
    chat = [event(delta={"role": "assistant", "content": ""}), event(delta={"content": "a"}), event(delta={})]
    assert habits_of([*chat, {"choices": [], "usage": {}}]) == Habits(opens=True, closes=True)
    assert habits_of([event(text="a"), event(text="b", finish_reason="length")]) == Habits(opens=False, closes=False)
    assert habits_of([event(text=""), event(text="a"), event(text="", finish_reason="stop")]).opens is False
    assert habits_of([event(delta={"reasoning": "a"}), event(delta={})]) == Habits(opens=False, closes=True)
    with pytest.raises(ServerError, match="an answer without a token"):
        habits_of([event(text="", finish_reason="stop")])


def test_a_log_of_truth_begins_when_a_request_was_read() -> None:
    told = {"t_received_ns": 5, "t_writes_ns": [9, 12], "write_tokens": [1, 2], "prompt_tokens": 4, "tokens": 3}
    one = exchange_of(told)
    assert (one.due_ns, one.sent_ns, one.token_ns, one.chunk_tokens) == (5, 5, (9, 12), (1, 2))
    assert (one.prompt_tokens, one.output_tokens) == (4, 3)


def test_versions_are_read_from_environments_of_other_interpreters(tmp_path: Path) -> None:
    info = tmp_path / "lib" / "python3.99" / "site-packages" / "some_client-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-client\nVersion: 1.2\n")
    assert installed_version("some-client", tmp_path) == "1.2"
    assert installed_version("another", tmp_path) is None
