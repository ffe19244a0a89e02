"""What vLLM tells a logger of its statistics, summed over its engine cores; parts of it may be missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bench.engine.vllm_process.counters import AllCounts

CONFIG = SimpleNamespace(
    parallel_config=SimpleNamespace(data_parallel_size=2), cache_config=SimpleNamespace(num_gpu_blocks=202)
)


def two_cores() -> tuple[AllCounts, list[Any]]:
    counts = AllCounts()
    return counts, [counts.stat_logger(CONFIG, index) for index in range(2)]


def test_counts_of_several_cores_are_added() -> None:
    counts, cores = two_cores()
    for core, usage in zip(cores, (0.25, 0.5), strict=True):
        core.record(
            SimpleNamespace(num_running_reqs=3, num_waiting_reqs=2, num_skipped_waiting_reqs=1, kv_cache_usage=usage),
            SimpleNamespace(num_generation_tokens=7, num_preempted_reqs=1, prompt_token_stats=None),
            engine_idx=0,
        )
    now = counts.counters()
    assert (now.running, now.waiting, now.output_tokens, now.preemptions) == (6, 6, 14, 2)
    # Each core has 101 blocks and keeps one of them empty.
    assert (now.kv_blocks_used, now.kv_blocks_total) == (75, 200)
    did = counts.did()
    assert did["kv_cache"] == {"most_used_share": 0.5}
    assert did["scheduler"]["most_waiting"] == 3
    assert did["speculation"] is None
    assert did["graphs"]["steps"] == 0
    assert did["prefix_cache"]["hit_share"] is None


def test_what_is_not_told_is_nothing_and_no_failure() -> None:
    counts, (core, _) = two_cores()
    core.record(None, None)
    core.record(SimpleNamespace(), SimpleNamespace())
    assert counts.did()["scheduler"]["iterations"] == 1
    assert counts.counters().output_tokens == 0


def test_a_reset_begins_anew_and_keeps_what_is_now() -> None:
    counts, (core, _) = two_cores()
    core.record(SimpleNamespace(num_running_reqs=3), SimpleNamespace(num_generation_tokens=7))
    counts.reset()
    assert counts.did()["scheduler"] == {"iterations": 0, "preemptions": 0, "most_running": 0, "most_waiting": 0}
    assert counts.counters().running == 3
