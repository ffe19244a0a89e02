"""What vLLM tells of itself at /metrics, and what of that a record holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.core.records import Counters
from bench.engine.vllm_server.description import described_work
from bench.engine.vllm_server.metrics import ServerMetrics, Totals, parse_metrics
from bench.engine.vllm_server.samples import Samples

TOLD = """
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.25
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 480.0
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.7954165412282162e+09
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 1.2e+02
vllm:num_preemptions_total{engine="0",model_name="m"} 2.0
vllm:num_preemptions_total{engine="1",model_name="m"} 1.0
vllm:spec_decode_num_drafts_total{engine="0",model_name="m"} 10.0
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="m"} 40.0
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="m"} 30.0
vllm:generation_tokens_total{engine="0",model_name="m"} NaN
vllm:cache_config_info{_block_size_resolved="True",block_size="128",cache_dtype="auto",enable_prefix_caching="True",\
engine="0",gpu_memory_utilization="0.92",kv_cache_layout="None",num_gpu_blocks="4096",odd="a \\"b\\", c"} 1.0
python_gc_objects_collected_total{generation="0"} 1264.0
"""


def metrics() -> ServerMetrics:
    told = parse_metrics(TOLD)
    assert told is not None
    return told


def test_engines_are_told_together() -> None:
    told = metrics()
    assert (told.running, told.waiting, told.kv_cache_share) == (5, 1, 0.375)
    assert told.totals == Totals(
        preemptions=3,
        prefix_queried_tokens=480,
        prefix_hit_tokens=120,
        drafts=10,
        drafted_tokens=40,
        accepted_tokens=30,
    )


def test_the_cache_tells_what_it_was_resolved_to() -> None:
    assert metrics().cache_config == {
        "block_size": 128,
        "cache_dtype": "auto",
        "enable_prefix_caching": True,
        "gpu_memory_utilization": 0.92,
        "kv_cache_layout": None,
        "num_gpu_blocks": 4096,
        "odd": 'a "b", c',
    }


@pytest.mark.parametrize(
    "text", ["", "<html>", "vllm:num_requests_running", 'vllm:x{a="b} 1', "vllm:num_requests_running x"]
)
def test_what_is_no_metric_tells_nothing(text: str) -> None:
    assert parse_metrics(text) is None


def test_a_record_tells_what_was_done_since_it_was_measured() -> None:
    samples = Samples()
    assert "scheduler" not in described_work(samples)
    before = metrics()
    samples.begin(before)
    samples.add(replace(before, running=7, kv_cache_share=0.75))
    samples.end(replace(before, totals=Totals(3, 100, 50, 580, 170, 20, 80, 60)))
    did = described_work(samples)
    assert did["sampled"] == {"count": 1, "running_peak": 7, "waiting_peak": 1, "kv_cache_share_peak": 0.75}
    assert did["scheduler"] == {"preemptions": 0, "prompt_tokens": 100, "output_tokens": 50}
    assert did["prefix_cache"] == {"queried_tokens": 100, "hit_tokens": 50, "hit_share": 0.5}
    assert did["speculation"] == {
        "drafts": 10,
        "drafted_tokens": 40,
        "accepted_tokens": 30,
        "acceptance_rate": 0.75,
        "acceptance_length": 4.0,
    }


def test_what_is_expected_anew_is_counted_anew_and_nothing_after_the_end() -> None:
    samples, told = Samples(), metrics()
    samples.begin(told)
    samples.add(replace(told, running=9))
    samples.begin(told)
    samples.end(None)
    samples.add(replace(told, running=11, totals=Totals(9)))
    did = described_work(samples)
    assert "sampled" not in did
    assert did["scheduler"]["preemptions"] == 0


def test_a_server_that_tells_nothing_leaves_the_clients_own_counts() -> None:
    samples, asked = Samples(), Counters(running=4, prompt_tokens=8, output_tokens=2)
    samples.begin(None)
    assert samples.counters(asked) == asked
    assert "scheduler" not in described_work(samples)
    samples.add(metrics())
    counted = samples.counters(asked)
    assert (counted.running, counted.waiting, counted.output_tokens) == (5, 1, 2)
    assert (counted.kv_blocks_used, counted.kv_blocks_total) == (1536, 4096)
